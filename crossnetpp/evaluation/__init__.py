"""Comparison of methods by the papers' protocol: scenes, methods, tables and contact sheets."""
