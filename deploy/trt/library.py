"""TensorRT 10.x, 11.x and TensorRT for RTX, found lazily, their differences in one place."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deploy.protocol import EngineError

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Where TensorRT may be, the regular one first: it times kernels on the GPU at hand."""
OLDEST_VERSION = 10
"""Older ones have neither strong typing nor `execute_async_v3` everywhere."""
PROBE_TIMEOUT_SECONDS = 120
"""A library on a slow shared file system takes its time."""
_CONTACT = """
import importlib, json, sys
m = importlib.import_module(sys.argv[1])
m.Builder(m.Logger(m.Logger.ERROR))
print(json.dumps({"version": m.__version__}))
"""


class TensorrtError(EngineError):
    """Report a TensorRT that is missing, broken, or refuses a graph."""


@dataclass(frozen=True)
class TensorrtLibrary:
    """One installed TensorRT."""

    module: str
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether it is TensorRT for RTX, which needs no GPU to build."""
        return "rtx" in self.module

    @property
    def name(self) -> str:
        """`TensorRT 10.9.0` or `TensorRT for RTX 1.7.1`."""
        return f"TensorRT{' for RTX' if self.is_rtx else ''} {self.version}"

    @property
    def api(self) -> Any:
        """The module; raises TensorrtError when this process cannot load it."""
        return _imported(self.module)

    def network_flags(self) -> int:
        """Return what makes a network keep the types of its graph; 11 does so anyway."""
        flag = getattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def targets(self) -> tuple[str, ...]:
        """Return the compute capabilities it builds for without a GPU, as `sm89`."""
        known = getattr(self.api, "ComputeCapability", None)
        names = [] if known is None else [n for n in dir(known) if n.startswith("SM")]
        return tuple(name.lower() for name in sorted(names, key=lambda n: int(n[2:])))


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise TensorrtError(_cannot(module, str(error))) from error


def _cannot(module: str, why: str) -> str:
    line = " ".join(why.split()) or "no reason given"
    return f"cannot load {module}: {line}; see docs/engines.md, or --engine torch"


def child_environment(path: Sequence[str]) -> dict[str, str]:
    """Return the environment of a child that imports from `path`, and never from where it runs."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


@lru_cache(maxsize=8)
def _contacted(module: str, path: tuple[str, ...]) -> TensorrtLibrary:
    """Load `module` in a child process, where a crash takes nothing with it."""
    environment = child_environment(path)
    command = [sys.executable, "-c", _CONTACT, module]
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PROBE_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise TensorrtError(_cannot(module, f"no answer in {PROBE_TIMEOUT_SECONDS} s")) from None
    lines = child.stderr.strip().splitlines()
    if child.returncode < 0:
        raise TensorrtError(_cannot(module, f"it crashes (signal {-child.returncode})"))
    if child.returncode:
        raise TensorrtError(_cannot(module, lines[-1] if lines else "it fails"))
    version = str(json.loads(child.stdout.strip().splitlines()[-1])["version"])
    if "rtx" not in module and int(version.split(".")[0]) < OLDEST_VERSION:
        raise TensorrtError(_cannot(module, f"found {version}, expected {OLDEST_VERSION} or newer"))
    return TensorrtLibrary(module, version)


def find_library(*, rtx: bool | None = None) -> TensorrtLibrary:
    """Return the TensorRT to use: the first of MODULES that works.

    With `rtx` only that kind. Raises TensorrtError, in one line, when there is none.
    """
    wanted = [m for m in MODULES if rtx is None or rtx == ("rtx" in m)]
    broken = None
    for module in wanted:
        try:
            if importlib.util.find_spec(module) is None:
                continue
        except ValueError:
            # a module that is there, but came from nowhere
            continue
        try:
            return _contacted(module, tuple(p for p in sys.path if p))
        except TensorrtError as error:
            broken = broken or error
    if broken is not None:
        raise broken
    how = "pip install 'crossnetpp-pipeline[rtx]'" if rtx else "--engine torch"
    raise TensorrtError(f"found no TensorRT ({', '.join(wanted)} not installed); try {how}")
