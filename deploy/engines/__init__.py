"""Engines for PyTorch, onnxruntime, OpenVINO and TensorRT, and plain bicubic up-sampling."""
