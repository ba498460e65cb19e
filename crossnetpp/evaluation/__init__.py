"""The comparison of methods by the papers' protocol: scenes, methods, tables, contact sheets."""
