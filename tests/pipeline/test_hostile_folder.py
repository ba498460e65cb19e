"""Runs in a folder that holds Python files of a stranger, none of which may ever run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.child_process import import_path
from tests.support import ROOT

# Files that Python would import in place of its own, numpy's or the pipeline's
NAMES = ("struct.py", "json.py", "numpy.py", "pipeline/__init__.py", "sitecustomize.py")
CODE = """
import os
try:
    open({place!r}, "w").close()
finally:
    os._exit(66)
"""

COMMAND = ("-P", "-m", "pipeline")  # as the installed command starts
OPTIONS = ("--engine", "bicubic", "--preset", "ultrafast", "-q", "-o", "out.mkv")


@pytest.fixture
def hostile(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a folder with two recordings and a stranger's Python files."""
    folder = tmp_path / "hostile"
    for name in NAMES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CODE.format(place=str(folder / "PWNED")))
    for recording in pair:
        shutil.copy(recording, folder)
    return folder


def run_inside(folder: Path, *arguments: str) -> None:
    """Run Python in `folder`, which must succeed and import nothing from it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (folder / "PWNED").exists()
    assert done.returncode == 0, done.stderr


def test_the_files_would_run(hostile: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import json"], cwd=hostile, check=False)
    assert done.returncode == 66
    assert (hostile / "PWNED").exists()


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_plans_and_runs(hostile: Path, sandbox: str) -> None:
    given = ("lr.mkv", "--ref-stream", "hr.mkv", "--sandbox", sandbox)
    run_inside(hostile, *COMMAND, "plan", *given)
    run_inside(hostile, *COMMAND, "run", *given, "--runner", "inline", *OPTIONS)
    assert (hostile / "out.mkv").exists()


@pytest.mark.ray
def test_a_run_on_actors(hostile: Path) -> None:
    given = ("lr.mkv", "--ref-stream", "hr.mkv", "--sandbox", "on")
    run_inside(hostile, *COMMAND, "run", *given, "--runner", "ray", *OPTIONS)
    assert (hostile / "out.mkv").exists()


def test_python_m_removes_the_current_folder_from_the_path(hostile: Path) -> None:
    shutil.rmtree(hostile / "pipeline")  # Python would find this one first
    run_inside(hostile, "-m", "pipeline", "plan", "lr.mkv", "--ref-stream", "hr.mkv")


_BUILD = """
import os, sys
sys.path.append(sys.argv[1])
os.environ |= {"FAKE_TENSORRT": "11.4.0.5", "FAKE_TENSORRT_CALLS": sys.argv[1] + "/calls"}
from onnx import TensorProto, helper
from deploy.trt.build_process import build_plan
from deploy.trt.building import BuildRequest
from deploy.trt.library import probe_library
from deploy.trt.profiles import SizeRange
found = probe_library("tensorrt")
values = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 3]) for name in ("ref", "sr")
]
node = helper.make_node("Identity", ["ref"], ["sr"])
graph = helper.make_model(helper.make_graph([node], "copy", values[:1], values[1:]))
sizes = (SizeRange.for_frames(64, 96),)
request = BuildRequest(found.module, found.version, 4, sizes)
assert build_plan(request, graph.SerializeToString()).plan
"""


def test_children_of_engines(hostile: Path) -> None:
    library = hostile.parent / "library" / "tensorrt"
    library.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "support" / "fake_tensorrt.py", library / "__init__.py")
    run_inside(hostile, "-P", "-c", _BUILD, str(library.parent))


@pytest.mark.parametrize("entry", ["", ".", "modules", "../hostile"])
def test_relative_entries_of_the_path_are_not_passed_on(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.chdir(hostile)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/opt/modules", entry]))
    completed = str(Path(entry).resolve())  # as Python completes it
    monkeypatch.setattr(sys, "path", ["", completed, "/opt/modules", *sys.path])
    path = import_path()
    assert completed not in path
    assert "" not in path
    assert {"/opt/modules", str(ROOT)} <= set(path)
