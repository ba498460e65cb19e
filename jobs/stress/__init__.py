"""Stress tests with killed processes, damaged recordings and a simulated cluster."""
