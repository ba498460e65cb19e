"""One video or a sequence of pictures: reading, writing, joining and verifying."""
