"""The run folder: its segments, the records that prove them complete, and durable writes."""
