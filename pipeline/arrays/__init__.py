"""Frames as arrays or tensors: `Enhancer` enhances them without any file."""
