"""The run folder: committed segments, a proof for each of them, and durable writes."""
