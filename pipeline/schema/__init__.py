"""The data models that are written to disk and sent to workers, and the options of a run."""
