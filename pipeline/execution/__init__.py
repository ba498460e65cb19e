"""Turn a plan into committed segments: decode frames, enhance them, and encode the results."""
