"""Training: configuration, data sources, the loop, its state and log, and validation."""
