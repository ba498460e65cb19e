"""Chaos, fuzzing and simulation of the scheduler."""
