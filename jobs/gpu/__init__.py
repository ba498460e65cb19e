"""A command that measures this machine's GPU."""
