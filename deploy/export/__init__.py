"""Export the networks to ONNX graphs."""
