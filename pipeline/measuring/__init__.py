"""Measure the quality of an output against its ground truth."""
