"""Facts about this machine that affect the speed and the accuracy of engines."""

from __future__ import annotations

from pathlib import Path

from crossnetpp.machine import count_cores, processor_name
from deploy.distribution import installed_versions
from deploy.registry import JsonObject

_LIBRARIES = (
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-rtx-cu13-libs",
)


def library_versions() -> dict[str, str]:
    """Return the versions of all installed packages that engines use, by package name."""
    return installed_versions(_LIBRARIES)


def driver_version() -> str:
    """Return the version of the NVIDIA kernel driver, or "" if none is loaded."""
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def device_facts() -> JsonObject:
    """Return the facts that affect speed: processor, cores, GPU, driver and library versions."""
    import torch

    from deploy.device import choose_device

    device = choose_device().type
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    return {
        "processor": processor_name(),
        "cores": count_cores(),
        "gpu": "" if device == "cpu" else gpu or device,
        "driver": driver_version() if gpu else "",
        "versions": library_versions(),
    }
