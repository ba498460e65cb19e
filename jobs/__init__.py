"""Benchmarks, quality measurements and stress tests, each a command of its own."""
