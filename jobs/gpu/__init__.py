"""A command that measures the GPU of a machine."""
