"""One engine for each runtime: PyTorch, ONNX Runtime, OpenVINO, TensorRT and plain bicubic."""
