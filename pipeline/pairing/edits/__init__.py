"""What was edited in trusted key frames, and how it reaches the frames around them."""
