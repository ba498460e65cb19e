"""Find TensorRT 10.x, TensorRT 11.x or TensorRT for RTX, and hide their differences."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deploy.child_process import child_environment, import_path
from deploy.distribution import describe_install
from deploy.protocol import EngineError

# Modules in order of preference. Regular TensorRT comes first, because it times kernels on the GPU.
MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
OLDEST_VERSION = 10  # the first with strong typing and `execute_async_v3` on all platforms
PROBE_TIMEOUT_SECONDS = 120  # long, because loading from a shared file system is slow
_EXPECTED = f"TensorRT {OLDEST_VERSION} or newer, or TensorRT for RTX"
_REGULAR = "TensorRT (package tensorrt)"
_RTX = "TensorRT for RTX (package tensorrt_rtx or tensorrt_rtx_bindings)"
_PROBE = """
import importlib, json, sys
m = importlib.import_module(sys.argv[1])
m.Builder(m.Logger(m.Logger.ERROR))
print(json.dumps({"version": m.__version__}))
"""


class TensorrtError(EngineError):
    """Raised if TensorRT is missing, is broken or fails."""


@dataclass(frozen=True)
class TensorrtLibrary:
    """An installed TensorRT library."""

    module: str
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether the library is TensorRT for RTX, which builds plans without a GPU."""
        return "rtx" in self.module

    @property
    def name(self) -> str:
        """The library's name, for example `TensorRT 10.9.0` or `TensorRT for RTX 1.7.1`."""
        return f"TensorRT{' for RTX' if self.is_rtx else ''} {self.version}"

    @property
    def api(self) -> Any:
        """The Python module. Raises TensorrtError if this process cannot load it."""
        return _import_module(self.module)

    def network_flags(self) -> int:
        """Return the flags for a strongly typed network; 0 for version 11, which needs none."""
        flag = getattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def targets(self) -> tuple[str, ...]:
        """Return the compute capabilities, such as `sm89`, for which plans can be cross-built.

        The tuple is empty if the library builds plans only for this machine's GPU.
        """
        known = getattr(self.api, "ComputeCapability", None)
        names = [] if known is None else [n for n in dir(known) if n.startswith("SM")]
        return tuple(name.lower() for name in sorted(names, key=lambda n: int(n[2:])))


def _import_module(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise TensorrtError(_load_failure(module, str(error))) from error


def _load_failure(module: str, reason: str) -> str:
    line = " ".join(reason.split()) or "no reason given"
    return f"{module} cannot be loaded ({line}); reinstall it, or try --engine torch"


def list_installed_modules(*, rtx: bool | None = None) -> list[str]:
    """Return the modules in MODULES that are installed, whether or not they work.

    If `rtx` is True, only TensorRT for RTX is considered; if it is False, only regular TensorRT.
    """
    installed = []
    for module in MODULES:
        if rtx is not None and rtx != ("rtx" in module):
            continue
        try:
            if importlib.util.find_spec(module) is not None:
                installed.append(module)
        except ValueError:
            # raised if the module has been imported but has no spec
            continue
    return installed


def probe_library(module: str) -> TensorrtLibrary:
    """Return the library in `module` after a trial load in a child process.

    If the library crashes, only the child dies. The child imports nothing from the current folder.
    Raises TensorrtError if the module is broken or too old, or does not load in time.
    """
    return _probe(module, tuple(import_path()))


@lru_cache(maxsize=8)
def _probe(module: str, path: tuple[str, ...]) -> TensorrtLibrary:
    environment = child_environment(path)
    command = [sys.executable, "-c", _PROBE, module]
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer in {PROBE_TIMEOUT_SECONDS} s"
        raise TensorrtError(_load_failure(module, reason)) from None

    lines = child.stderr.strip().splitlines()
    if child.returncode < 0:
        raise TensorrtError(_load_failure(module, f"it crashes (signal {-child.returncode})"))
    if child.returncode:
        raise TensorrtError(_load_failure(module, lines[-1] if lines else "no reason given"))

    version = str(json.loads(child.stdout.strip().splitlines()[-1])["version"])
    if "rtx" not in module and int(version.split(".")[0]) < OLDEST_VERSION:
        raise TensorrtError(
            f"{module} {version} is too old; install {_EXPECTED}, or try --engine torch"
        )
    return TensorrtLibrary(module, version)


def find_library(*, rtx: bool | None = None) -> TensorrtLibrary:
    """Return the library in the first of MODULES that works.

    If `rtx` is True, only TensorRT for RTX is considered; if it is False, only regular TensorRT.
    Raises TensorrtError if no library works.
    """
    broken = None
    for module in list_installed_modules(rtx=rtx):
        try:
            return probe_library(module)
        except TensorrtError as error:
            broken = broken or error

    if broken is not None:
        raise broken
    how = describe_install("rtx") if rtx else "--engine torch"
    missing = f"{_RTX if rtx else _REGULAR} is not"
    if rtx is None:
        missing = f"neither {_REGULAR} nor {_RTX} is"
    raise TensorrtError(f"{missing} installed; try {how}")
