"""Training: configuration, data sources, the training loop, its state and log, and validation."""
