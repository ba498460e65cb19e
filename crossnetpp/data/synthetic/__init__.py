"""Training samples that are composed as tensors, on a GPU if there is one, with exact flow."""
