"""The comparison of methods: scenes, methods, measurements, tables and contact sheets."""
