"""Benchmarks, quality measurements, checks and stress tests, each of which is a command."""
