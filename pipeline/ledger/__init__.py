"""The run folder: committed segments, a record that proves each of them, and durable writes."""
