"""One engine for each runtime (PyTorch, onnxruntime, OpenVINO, TensorRT), and plain bicubic."""
