"""The run folder: its segments, the records that they are complete, and durable writes."""
