"""Which reference serves which frame or view, and how it is fitted to it."""
