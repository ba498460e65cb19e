"""Training samples with exact flow, composed as tensors, on a GPU if there is one."""
