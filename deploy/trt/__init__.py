"""Build, store and run TensorRT plans."""
