"""Execution on a Ray cluster: the scheduler, and the actors that run segments."""
