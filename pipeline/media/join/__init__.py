"""Joining encoded segments and the copied streams into an output, and verifying it."""
