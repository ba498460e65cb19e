"""Measurements of a machine with a GPU, in one command."""
