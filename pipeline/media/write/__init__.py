"""Encode frames to segment files and videos."""
