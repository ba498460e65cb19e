"""Stress tests with killed processes, damaged recordings, hostile inputs and simulated clusters."""
