"""`pipeline doctor`: what is here, what is missing, and what to do about it.

ok      works
warn    works without; says what is lost and how to have it
fail    `pipeline run` cannot work; says how to mend it
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

import click

from deploy.distribution import DISTRIBUTION, installed_version
from pipeline.errors import first_line
from pipeline.schema.clip import Model

Status = Literal["ok", "warn", "fail"]
LEAST_DISK, GOOD_DISK = 1e9, 10e9
"""Bytes free below which runs break, or are likely to for long clips."""
GOOD_SHM = 1e9
"""Bytes of /dev/shm below which Ray writes its objects to disk (containers often have 64 MB)."""
IMPORT_TIME = 60
"""Seconds a broken package gets to show that it is broken."""


class Check(Model):
    """One thing looked at."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do; "" where there is nothing."""


def _ok(name: str, found: str) -> Check:
    return Check(name=name, status="ok", found=found)


def _warn(name: str, found: str, advice: str) -> Check:
    return Check(name=name, status="warn", found=found, advice=advice)


def _fail(name: str, found: str, advice: str) -> Check:
    return Check(name=name, status="fail", found=found, advice=advice)


def _import(name: str) -> ModuleType | str:
    """Return the module, or in one line why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        # what broken installations raise: missing, without its libraries, or half overwritten
        return first_line(error)


def check_python() -> Iterator[Check]:
    """Look at the interpreter."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.maxsize < 2**32:
        yield _fail("Python", f"{found}, 32 bit", "install a 64-bit Python 3.11 or newer")
    else:
        yield _ok("Python", found)


def check_packages() -> Iterator[Check]:
    """Hold the installed packages against what this version asks for."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        yield _warn("packages", "run from source, not installed", "pip install -e .")
        return
    wrong, right = [], 0
    for needed in asked:
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        version = installed_version(needed.name)
        if version is None:
            wrong.append(f"{needed.name} is missing")
            continue
        if needed.specifier.contains(version, prereleases=True):
            right += 1
        else:
            wrong.append(f"{needed.name} {version} is not {needed.specifier}")
    if wrong:
        yield _fail("packages", "; ".join(wrong), f"pip install --upgrade {DISTRIBUTION}")
    else:
        yield _ok("packages", f"{DISTRIBUTION} {installed_version()}, {right} needed")


def check_media() -> Iterator[Check]:
    """Look at PyAV: libraries, decoders, and encoders by opening each."""
    found = _import("av")
    if isinstance(found, str):
        yield _fail("FFmpeg libraries", found, "pip install --force-reinstall av")
        return
    # SVT-AV1 writes its settings to stderr when it is opened
    os.environ.setdefault("SVT_LOG", "1")
    from pipeline.media.write import inventory

    yield _ok("FFmpeg libraries", inventory.versions())
    lacking = inventory.missing_decoders()
    if lacking:
        advice = "such inputs cannot be read; pip install --force-reinstall av (its wheel has them)"
        yield _warn("decoders", f"without {', '.join(lacking)}", advice)
    else:
        yield _ok("decoders", ", ".join(inventory.DECODERS))
    refused = {name: inventory.refusal(name) for name in inventory.ENCODERS}
    opened = [name for name, reason in refused.items() if reason is None]
    software = [name for name in refused if not name.endswith("_nvenc")]
    if not {"libx264", "ffv1"} & set(opened):
        yield _fail(
            "encoders", str(refused["libx264"]), "pip install --force-reinstall av (not a bare one)"
        )
    elif missing := [name for name in software if name not in opened]:
        advice = "choose another --codec, or pip install --force-reinstall av"
        yield _warn("encoders", f"{', '.join(opened)} open; {', '.join(missing)} not", advice)
    else:
        yield _ok("encoders", f"{', '.join(opened)} open")
    if _driver() and not any(name.endswith("_nvenc") for name in opened):
        advice = "the CPU encodes; A100 and H100 have no encoder, elsewhere install a newer driver"
        yield _warn("NVENC", str(refused["h264_nvenc"]), advice)


def check_torch() -> Iterator[Check]:
    """Look at PyTorch, the weights and the GPU."""
    torch = _import("torch")
    if isinstance(torch, str):
        yield _fail("PyTorch", torch, "pip install --force-reinstall torch")
        return
    yield _ok("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    from crossnetpp.checkpoint import WEIGHTS_FOLDER

    weights = WEIGHTS_FOLDER / "fast.safetensors"
    if weights.is_file():
        yield _ok("weights", f"fast, {weights.stat().st_size / 1e6:.1f} MB")
    else:
        yield _fail("weights", f"no {weights}", f"pip install --force-reinstall {DISTRIBUTION}")
    driver = _driver()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield _ok("GPU", f"{', '.join(names)}; driver {driver or 'unknown'}")
    elif driver:
        found = f"driver {driver}, but PyTorch {torch.__version__} does not see a GPU"
        advice = "install a CUDA build of torch for this driver, and look at CUDA_VISIBLE_DEVICES"
        yield _warn("GPU", found, advice)
    else:
        advice = "the CPU works, at a few frames per second; nothing to mend"
        yield _warn("GPU", "none: no NVIDIA driver", advice)


def _driver() -> str | None:
    """Return the version of the NVIDIA driver."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return None
    words = text.split("\n", 1)[0].split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")


def check_tensorrt() -> Iterator[Check]:
    """Import TensorRT in a process of its own: broken ones end the process."""
    from deploy.trt.library import MODULES

    flavours = [name for name in MODULES if _installed(name)]
    if not flavours:
        if _driver():
            advice = "pip install 'crossnetpp-pipeline[tensorrt]' for faster engines"
            yield _warn("TensorRT", "not installed; PyTorch runs the network", advice)
        else:
            yield _ok("TensorRT", "not installed, and no GPU that could use it")
        return
    for name in flavours:
        kind = "TensorRT" if name == "tensorrt" else "TensorRT for RTX"
        # a builder touches the libraries, which a mere import may leave alone
        code = f"import {name} as t; t.Builder(t.Logger(t.Logger.ERROR)); print(t.__version__)"
        try:
            done = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                timeout=IMPORT_TIME,
                check=False,
            )
            said = done.stdout.strip() if done.returncode == 0 else _last_line(done.stderr)
            broken = done.returncode != 0
        except subprocess.TimeoutExpired:
            said, broken = f"did not load within {IMPORT_TIME} s", True
        if broken:
            extra = "tensorrt" if name == "tensorrt" else "rtx"
            advice = (
                f"pip install --force-reinstall 'crossnetpp-pipeline[{extra}]', "
                "or use --engine torch"
            )
            yield _warn(kind, f"{name} is broken: {said}", advice)
        else:
            yield _ok(kind, f"{name} {said}")


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["the process was ended"])[-1]


def check_ray() -> Iterator[Check]:
    """Look at Ray and the shared memory it wants."""
    ray = _import("ray")
    if isinstance(ray, str):
        advice = "needed for several devices only; pip install --force-reinstall 'ray[default]'"
        yield _warn("Ray", f"{ray}; --runner inline works", advice)
        return
    address = os.environ.get("RAY_ADDRESS")
    yield _ok("Ray", f"{ray.__version__}" + (f", RAY_ADDRESS {address}" if address else ""))
    shm = Path("/dev/shm")
    if shm.is_dir() and (size := shutil.disk_usage(shm).total) < GOOD_SHM:
        advice = "start the container with --shm-size=2g"
        yield _warn("shared memory", f"{size / 1e6:.0f} MB in /dev/shm", advice)


def check_disk() -> Iterator[Check]:
    """Look at the room and the rights in the places that are written to."""
    for name, folder in (("disk", Path.cwd()), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        found = f"{free / 1e9:.1f} GB free in {folder}"
        if not os.access(folder, os.W_OK):
            yield _warn(name, f"{folder} is not writable", "write elsewhere with -o, or set TMPDIR")
        elif free < LEAST_DISK:
            yield _fail(name, found, "make room, or write elsewhere with -o")
        elif free < GOOD_DISK:
            yield _warn(name, found, "a run needs twice its output; make room for long clips")
        else:
            yield _ok(name, found)


def check_cache() -> Iterator[Check]:
    """Look at the folder of copies of remote files."""
    if isinstance(reason := _import("pipeline.remote.cache"), str):
        yield _warn("cache", reason, "mend what fails above first")
        return
    from pipeline.errors import InputError
    from pipeline.remote.cache import capacity, root

    try:
        folder, most = root(), capacity()
    except InputError as error:
        yield _fail("cache", str(error).partition(";")[0], str(error).partition("; ")[2])
        return
    if not os.access(folder, os.W_OK):
        yield _warn("cache", f"{folder} is not writable", "set PIPELINE_CACHE to a folder")
    else:
        yield _ok("cache", f"{folder}, at most {most / 1e9:.0f} GB")


def check_programs() -> Iterator[Check]:
    """Look for an ffmpeg program, which only VMAF needs."""
    if isinstance(reason := _import("pipeline.measuring.vmaf"), str):
        yield _warn("ffmpeg program", reason, "mend what fails above first")
        return
    from pipeline.measuring.vmaf import program

    measuring, found = program(), shutil.which("ffmpeg")
    if measuring is not None:
        yield _ok("ffmpeg program", f"{measuring}, with VMAF; nothing else needs it")
    elif found is not None:
        yield _ok("ffmpeg program", f"{found}, without VMAF; nothing else needs it")
    else:
        yield _ok("ffmpeg program", "none, and none is needed but for evaluate --vmaf")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_python,
    check_packages,
    check_media,
    check_torch,
    check_tensorrt,
    check_ray,
    check_programs,
    check_disk,
    check_cache,
)


def examine() -> list[Check]:
    """Return everything looked at, in order."""
    return [check for look in CHECKS for check in look()]


def overall(checks: list[Check]) -> Status:
    """Return the worst status."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "ok"


COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Look at everything a run needs and say what to do about what is missing.

    The exit status is 1 when something fails, else 0.
    """
    checks = examine()
    worst = overall(checks)
    if as_json:
        import json

        listed = [check.model_dump() for check in checks]
        click.echo(json.dumps({"status": worst, "checks": listed}))
    else:
        for check in checks:
            status = click.style(f"{check.status:<5}", fg=COLOURS[check.status])
            click.echo(f"{status} {check.name:<17} {check.found}")
            if check.advice:
                click.echo(f"{'':<23} -> {check.advice}")
    context.exit(1 if worst == "fail" else 0)
