"""Find out what works on this machine and what to do about the rest, for `pipeline doctor`.

ok      it works
warn    runs work without it; the advice states the remedy, or what is lost
fail    `pipeline run` cannot work; the advice states the remedy
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

from packaging.requirements import Requirement

from crossnetpp.machine import is_linux, system_name
from deploy.child_process import ROOT
from deploy.distribution import DISTRIBUTION, describe_install, installed_version
from deploy.machine import driver_version
from pipeline.confinement import describe_gap, describe_obstacle
from pipeline.errors import InputError, first_line
from pipeline.schema.model import Model

Status = Literal["ok", "warn", "fail"]

LEAST_DISK = 1e9  # bytes; with less free space, runs fail
GOOD_DISK = 10e9  # bytes; with less free space, runs on long clips are likely to fail
GOOD_SHARED_MEMORY = 1e9  # bytes of /dev/shm; with less (64 MB in Docker), Ray spills to disk


class Check(Model):
    """The result of checking one part of this machine or installation."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """The remedy, or "" if there is nothing to do."""


def _ok(name: str, found: str) -> Check:
    return Check(name=name, status="ok", found=found)


def _warn(name: str, found: str, advice: str) -> Check:
    return Check(name=name, status="warn", found=found, advice=advice)


def _fail(name: str, found: str, advice: str) -> Check:
    return Check(name=name, status="fail", found=found, advice=advice)


def _import_or_reason(name: str) -> ModuleType | str:
    """Return the module, or one line that states why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # raised if a package is missing, lacks its libraries, or was overwritten in part
        return first_line(error)


def check_python() -> Iterator[Check]:
    """Check the interpreter."""
    found = f"{platform.python_version()} on {system_name()} ({sys.executable})"
    if sys.maxsize < 2**32:
        yield _fail("Python", f"{found}, 32 bit", "install a 64-bit Python 3.11 or newer")
    else:
        yield _ok("Python", found)


def check_packages() -> Iterator[Check]:
    """Check the installed packages against this version's requirements."""
    try:
        requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        yield _warn("packages", "running from source, not installed", f"pip install -e '{ROOT}'")
        return

    problems = []
    wanted = []
    satisfied = 0
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue

        version = installed_version(requirement.name)
        if version is None:
            problems.append(f"{requirement.name} is missing")
        elif requirement.specifier.contains(version, prereleases=True):
            satisfied += 1
            continue
        else:
            problems.append(f"{requirement.name} {version} is not {requirement.specifier}")
        wanted.append(f"'{requirement}'")

    if problems:
        # name the packages, because this distribution may come from a checkout or a file
        yield _fail("packages", "; ".join(problems), f"pip install {' '.join(wanted)}")
    else:
        found = f"{DISTRIBUTION} {installed_version()} and {satisfied} required packages"
        yield _ok("packages", found)


def check_sandbox() -> Iterator[Check]:
    """Check whether recordings can be opened in confined processes."""
    advice = "download only recordings that you trust"
    if obstacle := describe_obstacle():
        yield _warn("sandbox", f"none: {obstacle}", advice)
    elif gap := describe_gap():
        yield _warn("sandbox", gap, advice)
    else:
        yield _ok("sandbox", "recordings from URLs are opened in confined processes")


def check_media() -> Iterator[Check]:
    """Check PyAV, its FFmpeg libraries and the codecs in DECODERS, and open those in ENCODERS."""
    av = _import_or_reason("av")
    if isinstance(av, str):
        yield _fail("FFmpeg libraries", av, "pip install --force-reinstall av")
        return

    # SVT-AV1 writes its settings to stderr when it is opened
    os.environ.setdefault("SVT_LOG", "1")
    from pipeline.media.write import inventory

    yield _ok("FFmpeg libraries", inventory.library_versions())

    missing = inventory.find_missing_decoders()
    if missing:
        advice = (
            "inputs in these formats cannot be read; "
            "pip install --force-reinstall av (its wheel contains the decoders)"
        )
        yield _warn("decoders", f"without {', '.join(missing)}", advice)
    else:
        yield _ok("decoders", ", ".join(inventory.DECODERS))

    reasons = {name: inventory.find_refusal(name) for name in inventory.ENCODERS}
    yield _check_encoders(reasons)
    if driver_version() and all(reasons[name] for name in reasons if name.endswith("_nvenc")):
        advice = (
            "the CPU encodes: A100 and H100 have no hardware encoder; "
            "for other GPUs, install a newer driver"
        )
        yield _warn("NVENC", str(reasons["h264_nvenc"]), advice)


def _check_encoders(reasons: dict[str, str | None]) -> Check:
    """Return the result of checking the encoders.

    `reasons` maps each encoder to why it cannot be opened, or to None if it can.
    """
    opened = [name for name, reason in reasons.items() if reason is None]
    missing = [name for name in reasons if name not in opened and not name.endswith("_nvenc")]
    if not {"libx264", "ffv1"} & set(opened):
        advice = "pip install --force-reinstall av (from a wheel, which includes the encoders)"
        return _fail("encoders", str(reasons["libx264"]), advice)
    if missing:
        advice = "choose another --codec, or pip install --force-reinstall av"
        found = f"{', '.join(opened)} work; {', '.join(missing)} do not"
        return _warn("encoders", found, advice)
    return _ok("encoders", f"{', '.join(opened)} work")


def check_torch() -> Iterator[Check]:
    """Check PyTorch, the default weights and the GPU."""
    torch = _import_or_reason("torch")
    if isinstance(torch, str):
        yield _fail("PyTorch", torch, "pip install --force-reinstall torch")
        return
    yield _ok("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads")

    from crossnetpp.checkpoint import WEIGHTS_FOLDER

    weights = WEIGHTS_FOLDER / "fast.safetensors"
    if weights.is_file():
        yield _ok("weights", f"fast, {weights.stat().st_size / 1e6:.1f} MB")
    else:
        advice = "pip install --force-reinstall --no-deps . (in the checkout, or with the wheel)"
        yield _fail("weights", f"{weights} is missing", advice)

    driver = driver_version()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield _ok("GPU", f"{', '.join(names)}; driver {driver or 'unknown'}")
    elif torch.backends.mps.is_available():
        yield _ok("GPU", "Apple GPU (mps)")
    elif driver:
        found = f"driver {driver}, but PyTorch {torch.__version__} does not see a GPU"
        advice = "install a CUDA build of torch for this driver, and check CUDA_VISIBLE_DEVICES"
        yield _warn("GPU", found, advice)
    else:
        advice = "nothing to fix: the network runs on the CPU at a few frames per second"
        yield _warn("GPU", "none: no NVIDIA driver", advice)


def check_tensorrt() -> Iterator[Check]:
    """Check TensorRT by importing it in a child process, because a broken library may crash."""
    from deploy.trt.library import TensorrtError, list_installed_modules, probe_library

    installed = list_installed_modules()
    for name in installed:
        kind = "TensorRT" if name == "tensorrt" else "TensorRT for RTX"
        try:
            library = probe_library(name)
        except TensorrtError as error:
            found, _, advice = str(error).rpartition("; ")
            yield _warn(kind, found, advice)
        else:
            yield _ok(kind, f"{name} {library.version}")

    if not installed and driver_version():
        advice = f"{describe_install('tensorrt')} for faster engines"
        yield _warn("TensorRT", "not installed; PyTorch runs the network", advice)
    elif not installed:
        yield _ok("TensorRT", "not installed, and there is no GPU that could use it")


def check_ray() -> Iterator[Check]:
    """Check Ray and the shared memory that it uses."""
    if not is_linux():
        advice = "nothing to fix: Ray is needed only for several devices, and used only on Linux"
        yield _warn("Ray", f"not used on {system_name()}; --runner inline works", advice)
        return

    ray = _import_or_reason("ray")
    if isinstance(ray, str):
        advice = "needed only for several devices; pip install --force-reinstall 'ray[default]'"
        yield _warn("Ray", f"{ray}; --runner inline works", advice)
        return

    address = os.environ.get("RAY_ADDRESS")
    yield _ok("Ray", f"{ray.__version__}" + (f", RAY_ADDRESS {address}" if address else ""))

    shared_memory = Path("/dev/shm")
    if shared_memory.is_dir():
        size = shutil.disk_usage(shared_memory).total
        if size < GOOD_SHARED_MEMORY:
            advice = "start the container with --shm-size=2g"
            yield _warn("shared memory", f"{size / 1e6:.0f} MB in /dev/shm", advice)


def check_disk() -> Iterator[Check]:
    """Check that the current and the temporary folder are writable and have free space."""
    for name, folder in (("disk", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        found = f"{free / 1e9:.1f} GB free in {folder}"
        if not os.access(folder, os.W_OK):
            advice = "choose another folder with -o, or set TMPDIR"
            yield _warn(name, f"{folder} is not writable", advice)
        elif free < LEAST_DISK:
            yield _fail(name, found, "free some space, or choose another disk with -o")
        elif free < GOOD_DISK:
            advice = "a run needs twice the size of its output; free some space for long clips"
            yield _warn(name, found, advice)
        else:
            yield _ok(name, found)


def check_cache() -> Iterator[Check]:
    """Check the folder that stores copies of remote files."""
    module = _import_or_reason("pipeline.remote.cache")
    if isinstance(module, str):
        yield _warn("cache", module, "fix the failure above first")
        return

    from pipeline.remote.cache import cache_folder, read_capacity

    try:
        folder = cache_folder()
        most = read_capacity()
    except InputError as error:
        found, _, advice = str(error).partition("; ")
        yield _fail("cache", found, advice)
        return

    if not os.access(folder, os.W_OK):
        yield _warn("cache", f"{folder} is not writable", "set PIPELINE_CACHE to one that is")
    else:
        yield _ok("cache", f"{folder}, at most {most / 1e9:.0f} GB")


def check_programs() -> Iterator[Check]:
    """Look for an ffmpeg program, which is needed only to measure VMAF."""
    module = _import_or_reason("pipeline.measuring.vmaf")
    if isinstance(module, str):
        yield _warn("ffmpeg program", module, "fix the failure above first")
        return

    from pipeline.measuring.vmaf import find_program

    measuring = find_program()
    found = shutil.which("ffmpeg")
    if measuring is not None:
        yield _ok("ffmpeg program", f"{measuring}, with VMAF; nothing else needs it")
    elif found is not None:
        yield _ok("ffmpeg program", f"{found}, without VMAF; nothing else needs it")
    else:
        yield _ok("ffmpeg program", "none; only `pipeline evaluate --vmaf` needs one")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_python,
    check_packages,
    check_sandbox,
    check_media,
    check_torch,
    check_tensorrt,
    check_ray,
    check_programs,
    check_disk,
    check_cache,
)


def run_checks() -> list[Check]:
    """Return the results of all checks, in order."""
    return [result for check in CHECKS for result in check()]


def worst_status(checks: list[Check]) -> Status:
    """Return the worst status of the checks; "ok" if there are none."""
    statuses = {check.status for check in checks}
    if "fail" in statuses:
        return "fail"
    return "warn" if "warn" in statuses else "ok"
