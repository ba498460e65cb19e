"""Benchmarks, quality measurements, checks and stress tests, each run by a command of its own."""
