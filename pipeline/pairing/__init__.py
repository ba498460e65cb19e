"""Choose the reference of each frame or view, and fit it to the output."""
