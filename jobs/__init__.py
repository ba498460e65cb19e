"""Benchmarks, evaluations and stress tests; each is a command of its own."""
