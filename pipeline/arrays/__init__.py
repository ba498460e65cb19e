"""Enhance frames that are arrays or tensors, without any files."""
