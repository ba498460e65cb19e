"""Adapt the weights to a recording: its key frames, the decision, the training, the files."""
