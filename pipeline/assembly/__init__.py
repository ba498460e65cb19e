"""Join committed segments into an output, verify it, and publish it."""
