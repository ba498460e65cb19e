"""Adapt the weights to a recording: choose its key frames, decide, train, and store the result."""
