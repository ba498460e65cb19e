"""Decoding of untrusted recordings in a confined child process."""
