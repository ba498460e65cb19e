"""Training pairs from photographs, clips, light fields and stereo, with their degradation."""
