"""From a plan to committed segments: decode, infer, encode."""
