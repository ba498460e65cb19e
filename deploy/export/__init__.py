"""Export of the networks to ONNX graphs."""
