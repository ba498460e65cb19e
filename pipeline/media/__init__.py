"""Read, write, join and verify videos and sequences of pictures."""
