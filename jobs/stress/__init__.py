"""Stress tests: killed processes, damaged recordings and a simulated cluster."""
