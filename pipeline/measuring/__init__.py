"""Quality figures of an output against its ground truth."""
