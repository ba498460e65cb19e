"""Measure how LR results from HR: the downscaling kernel, the shift and the colours."""
