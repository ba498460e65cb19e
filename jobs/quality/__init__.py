"""Measure the quality of whole runs on real clips and light fields against the ground truth."""
