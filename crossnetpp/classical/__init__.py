"""Detail borrowed by optical flow, without a network or training."""
