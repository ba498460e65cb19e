"""Training pairs from photographs, clips, light fields and stereo, and how LR is made from them."""
