"""Hostile Python modules and programs in the folder in which a command runs."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from jobs.stress.hostile.bench import PLAN, RUN, Bench, Case

# modules that Python, its libraries or the pipeline could import from the current folder
_NAMES = (
    *("json", "struct", "random", "typing", "numpy/__init__", "torch/__init__", "av", "cv2", "PIL"),
    *("h5py", "ray", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "fsspec", "encodings"),
    *("sitecustomize", "usercustomize", "pipeline/__init__", "crossnetpp/__init__", "deploy"),
)
_CODE = "open({marker!r}, 'w').close()\nraise SystemExit(66)\n"


def _plant_modules(bench: Bench, names: tuple[str, ...] = _NAMES) -> None:
    for name in names:
        bench.write(f"{name}.py", _CODE.format(marker=str(bench.marker)))


def _plant_programs(bench: Bench, *names: str) -> None:
    for name in names:
        program = bench.write(name, f"#!/bin/sh\ntouch '{bench.marker}'\n")
        program.chmod(0o755)


def _attack_command(bench: Bench, *command: str, sources: tuple[str, ...] = ()) -> None:
    bench.copy(*sources)
    _plant_modules(bench)
    bench.attack(*command, status=(0, 1) if command[0] == "doctor" else (0,))


def _attack_sandbox(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    _plant_modules(bench)
    bench.attack(*PLAN, "--sandbox", "on", status=(0,))


def _attack_without_safe_path(bench: Bench) -> None:
    bench.copy("lr.mkv")
    _plant_modules(bench, tuple(name for name in _NAMES if not name.startswith("pipeline")))
    # `python -m` imports these before any of our code runs, as pipeline/__main__.py states
    for name in ("sitecustomize", "usercustomize", "encodings", "typing"):
        (bench.folder / f"{name}.py").unlink()
    bench.attack("probe", "lr.mkv", program=(sys.executable, "-m", "pipeline"), status=(0,))


def _attack_path(bench: Bench, entry: str) -> None:
    """Attack child processes through an entry of PYTHONPATH that they should not inherit."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("modules/tensorrt.py", _CODE.format(marker=str(bench.marker)))
    bench.write("modules/h5py.py", _CODE.format(marker=str(bench.marker)))
    path = os.pathsep.join([bench.environment()["PYTHONPATH"], entry])
    bench.attack(*PLAN, "--sandbox", "on", environment={"PYTHONPATH": path}, status=(0,))


def _attack_programs(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    _plant_programs(bench, "ffmpeg", "ffprobe", "git", "nvidia-smi", "ray", "python", "sh")
    bench.attack("evaluate", "lr.mkv", "--ground-truth", "hr.mkv", "--vmaf", status=(0, 1, 2))
    bench.attack("doctor", status=(0, 1))


def _attack_name(bench: Bench, name: str) -> None:
    """Run with --exec on a recording whose name is shell code."""
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "lr.mkv").rename(bench.folder / name)
    Path(bench.folder / "out").mkdir()
    words = [f"./{name}" if word == "lr.mkv" else word for word in RUN]
    words[-1] = f"out/{name}"
    bench.attack(*words, "--exec", 'test -f "$PIPELINE_OUTPUT"', status=(0,))


CASES = (
    Case("modules-plan-sandbox", "code", "modules beside a recording", _attack_sandbox, True),
    Case(
        "modules-probe",
        "code",
        "modules beside a recording, read by probe",
        lambda bench: _attack_command(bench, "probe", "lr.mkv", sources=("lr.mkv",)),
        True,
    ),
    Case(
        "modules-run",
        "code",
        "modules beside a recording that is enhanced",
        lambda bench: _attack_command(bench, *RUN, sources=("lr.mkv", "hr.mkv")),
    ),
    Case(
        "modules-light-field",
        "code",
        "modules beside a light field",
        lambda bench: _attack_command(bench, "probe", "views", sources=("views",)),
    ),
    Case(
        "modules-doctor",
        "code",
        "modules with the names of engines",
        lambda bench: _attack_command(bench, "doctor"),
    ),
    Case(
        "modules-engines",
        "code",
        "modules with the names of engines, at `engines list`",
        lambda bench: _attack_command(bench, "engines", "list"),
    ),
    Case("modules-python-m", "code", "modules at `python -m pipeline`", _attack_without_safe_path),
    *(
        Case(
            f"modules-path-{name}",
            "code",
            f"PYTHONPATH with the entry {entry!r}",
            partial(_attack_path, entry=entry),
        )
        for name, entry in (("empty", ""), ("relative", "modules"), ("dot", "./modules/."))
    ),
    Case("programs", "code", "programs with the names of ffmpeg, git and others", _attack_programs),
    *(
        Case(
            f"exec-{number}", "code", f"a name for --exec: {name}", partial(_attack_name, name=name)
        )
        for number, name in enumerate(
            ("$(touch PWNED).mkv", "a;touch PWNED;.mkv", "`touch PWNED`.mkv", '"|touch PWNED|".mkv')
        )
    ),
)
