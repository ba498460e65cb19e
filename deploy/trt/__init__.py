"""Building, storing and running TensorRT engines."""
