"""Training pairs from photographs, clips, light fields and stereo, and their degradation to LR."""
