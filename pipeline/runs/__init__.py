"""Whole runs: one input or many, from settings to a published output."""
