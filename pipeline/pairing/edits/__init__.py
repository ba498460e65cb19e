"""Find the edits of trusted key frames, and apply them to the frames around them."""
