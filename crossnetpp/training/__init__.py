"""The training loop: configuration, data sources, state, logging and validation."""
