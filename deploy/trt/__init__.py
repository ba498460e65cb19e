"""Building, storing and running plans with TensorRT."""
