"""Execution on a Ray cluster: scheduling, actors and their supervision."""
