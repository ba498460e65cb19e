"""Probe recordings and decode their frames."""
