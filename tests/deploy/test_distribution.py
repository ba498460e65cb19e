"""The command that adds optional packages, and what runs without them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from deploy.distribution import describe_install
from deploy.load import PYTORCH_ENGINES
from tests.support import ROOT

OPTIONAL = (
    *("onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"),
    *("h5py", "scipy", "imageio_ffmpeg", "pyarrow", "tensorboard", "OpenEXR", "torchmetrics"),
)
WITHOUT_OPTIONAL = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
# find_spec itself must say that a package is not installed, as it does in a default installation
WITHOUT_OPTIONAL += f"""
import importlib.util
find_spec = importlib.util.find_spec
def find(name, package=None):
    return None if name in {OPTIONAL!r} else find_spec(name, package)
importlib.util.find_spec = find
"""


def run_without_optional_packages(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own that finds no optional package and an empty cache."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PIPELINE_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_OPTIONAL + code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_names_the_packages_of_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["av>=16", 'onnx<2,>=1.18; extra == "onnx"', 'ray[train]>=2; extra == "train"']
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    assert describe_install("onnx") == "pip install 'onnx<2,>=1.18'"
    assert describe_install("train") == "pip install 'ray[train]>=2'"


def test_a_checkout_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_not_found(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", raise_not_found)
    assert describe_install("s3") == f"pip install '{ROOT}[s3]'"


# Text that a user may read: pages, messages and their sources
SUFFIXES = {".md", ".py", ".yaml", ".yml", ".j2", ".sh", ".toml", ".Dockerfile"}
FOLDERS = ("crossnetpp", "deploy", "docs", "examples", "jobs", "pipeline")
FROM_AN_INDEX = re.compile(
    r"(install|add|uvx|pipx run)\s+(-\S+\s+(\S+\s+)?)*[\"'`]?crossnetpp[-_]pipeline"
)


@pytest.mark.parametrize(
    "text",
    [
        "pip install crossnetpp-pipeline",
        "`pip install --upgrade 'crossnetpp-pipeline[onnx]'`",
        "pip install -c\nconstraints.txt crossnetpp-pipeline",
        "uv add crossnetpp_pipeline",
    ],
)
def test_installing_from_an_index_is_recognised(text: str) -> None:
    assert FROM_AN_INDEX.search(text)
    assert not FROM_AN_INDEX.search("pip install -c constraints.txt '.[onnx]'")


def test_no_text_installs_this_project_from_an_index() -> None:
    # it is on none, so that somebody else could take the name
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    files = [path for path in (*files, *ROOT.glob("*")) if path.suffix in SUFFIXES]
    wrong = [
        path.relative_to(ROOT).as_posix()
        for path in (*files, ROOT / "Makefile")
        if FROM_AN_INDEX.search(path.read_text(encoding="utf-8"))
    ]
    assert len(files) > 200
    assert wrong == []


def test_auto_runs_the_network_without_optional_packages(tmp_path: Path) -> None:
    # as `pipeline demo` does
    done = run_without_optional_packages(
        """
import numpy as np
from deploy.load import load_engine
engine = load_engine("auto")
sr = engine.enhance(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 64, 64, 3), np.uint8))
print(engine.info.name, sr.shape, engine.info.reason)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(tuple(f"{name} (1, 64, 64, 3) " for name in PYTORCH_ENGINES))
    assert "not usable: onnx" in done.stdout


def test_engines_bench_names_the_packages_that_are_missing(tmp_path: Path) -> None:
    done = run_without_optional_packages(
        """
from pipeline.cli.main import main
main(["engines", "bench", "--size", "64x64", "--frames", "1", "--turns", "1", "--json"])
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["engine"]: row for row in json.loads(done.stdout)["engines"]}
    assert rows["torch"]["fps"] > 0
    for name in ("onnx", "openvino"):
        reason = rows[name]["failed"]
        assert "pip install 'onnx" in reason
        assert "\n" not in reason


def test_doctor_finds_nothing_wrong_without_optional_packages(tmp_path: Path) -> None:
    done = run_without_optional_packages(
        """
from pipeline.cli.main import main
main(["doctor", "--json"])
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] in ("ok", "warn")


@pytest.mark.parametrize("name", ["onnx", "openvino", "tensorrt"])
def test_an_engine_without_its_packages_is_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    done = run_without_optional_packages(
        f"""
from deploy.load import EngineError, load_engine
try:
    load_engine({name!r})
except EngineError as error:
    print(error)
""",
        tmp_path,
    )
    (line,) = done.stdout.splitlines()
    assert "--engine torch" in line
