"""Adapt weights to a recording: choose key frames, decide whether to train, train, and store."""
