"""The device on which PyTorch runs the networks."""

from __future__ import annotations

import torch

# On these devices, float32 PyTorch is the baseline of the self-tests, and is not tested itself.
BASELINE_DEVICES = ("cuda", "cpu")


def choose_device() -> torch.device:
    """Return an NVIDIA GPU, else an Apple GPU (`mps`), else the CPU."""
    if not torch.cuda.is_available() and torch.backends.mps.is_available():
        return torch.device("mps")
    return choose_baseline_device()


def choose_baseline_device() -> torch.device:
    """Return the device for the self-test baseline: an NVIDIA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_processor_feature(*names: str) -> bool:
    """Return whether the processor has at least one of the features, named as in PyTorch.

    The result is False if this version of PyTorch is too old to report processor features.
    """
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)
    if get_capabilities is None:
        return False
    capabilities = get_capabilities()
    return any(capabilities.get(name) for name in names)
