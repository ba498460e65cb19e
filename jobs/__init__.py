"""Commands that run benchmarks, quality measurements, checks and stress tests."""
