"""Measure how a camera made LR from HR: its reduction kernel, shift and colours."""
