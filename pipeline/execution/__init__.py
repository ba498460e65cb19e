"""Turn a plan into committed segments: decode, infer, encode."""
