"""Encoding frames."""
