"""Make a plan from settings and files."""
