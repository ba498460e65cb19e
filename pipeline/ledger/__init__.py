"""The run folder: which segments are done, and durable writes."""
