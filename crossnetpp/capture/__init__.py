"""Measure how a camera made LR from HR: its downscaling kernel, shift and colours."""
