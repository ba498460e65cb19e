"""Probing and decoding."""
