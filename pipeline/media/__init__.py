"""Read, write, join and verify one video or a sequence of pictures."""
