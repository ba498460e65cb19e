"""The data models that are written to disk and sent to workers."""
