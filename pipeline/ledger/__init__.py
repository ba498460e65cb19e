"""The run folder: committed segments, the proof of each, and durable writes."""
