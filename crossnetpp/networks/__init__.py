"""The networks, one part of the paper or of the preset `fast` in each module."""
