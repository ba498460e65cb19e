"""Decode untrusted recordings in a confined child process."""
