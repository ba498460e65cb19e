"""`pipeline doctor` on this machine, and on machines where something is missing or broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.tools import doctor
from pipeline.tools.doctor import Check, run_checks, worst_status


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_it_describes_this_machine() -> None:
    import ray
    import tensorrt_rtx_bindings as rtx
    import torch

    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    answer = json.loads(result.stdout)
    found = {check["name"]: check for check in answer["checks"]}
    assert answer["status"] in ("ok", "warn")
    assert sys.executable in found["Python"]["found"]
    assert found["PyTorch"]["found"].startswith(torch.__version__)
    assert found["Ray"]["found"].startswith(ray.__version__)
    assert av.__version__ in found["FFmpeg libraries"]["found"]
    assert (found["GPU"]["status"] == "ok") == torch.cuda.is_available()
    assert found["TensorRT for RTX"]["found"] == f"tensorrt_rtx_bindings {rtx.__version__}"
    assert "with VMAF" in found["ffmpeg program"]["found"]
    for name in found["encoders"]["found"].split(" work")[0].split(", "):
        av.CodecContext.create(name, "w")
    assert all(check["advice"] for check in answer["checks"] if check["status"] != "ok")


def test_each_problem_is_printed_with_its_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Check(name="thing", status="fail", found="broken", advice="fix it")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([problem]),))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].split() == ["fail", "thing", "broken"]
    assert "-> fix it" in result.stdout


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [(["ok"], "ok"), (["ok", "warn"], "warn"), (["fail", "warn", "ok"], "fail")],
)
def test_the_worst_status_is_reported(statuses: list[Any], worst: str) -> None:
    assert worst_status([Check(name="x", status=s, found="") for s in statuses]) == worst


def test_without_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr("av.CodecContext.create", bare, raising=False)
    monkeypatch.setattr(
        "pipeline.media.write.segment.av.CodecContext", type("C", (), {"create": bare})
    )
    monkeypatch.setattr("pipeline.media.write.inventory.codecs_available", frozenset({"h264"}))
    found = by_name(list(doctor.check_media()))
    assert found["encoders"].status == "fail"
    assert "libx264" in found["encoders"].found
    assert found["decoders"].status == "warn"
    assert "hevc" in found["decoders"].found


def check_with_broken(broken: dict[str, str], folder: Path) -> dict[str, Any]:
    """Return checks, by name, with the texts of `broken` as __init__.py of those packages."""
    for name, text in broken.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    root = Path(doctor.__file__).parents[2]
    code = """
import json
from pipeline.tools import doctor
checks = (doctor.check_media, doctor.check_tensorrt, doctor.check_ray)
print(json.dumps([c.model_dump() for check in checks for c in check()]))
"""
    environment = os.environ | {"PYTHONPATH": f"{folder}:{root}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return {check["name"]: check for check in json.loads(done.stdout)}


def test_without_ray_and_with_a_broken_tensorrt(tmp_path: Path) -> None:
    found = check_with_broken(
        {
            "ray": "raise ModuleNotFoundError(\"No module named 'ray'\")",
            "tensorrt": "raise OSError('libnvinfer.so.10: cannot open shared object file')",
            "tensorrt_rtx": "raise ImportError('libtensorrt_rtx.so is missing')",
        },
        tmp_path,
    )
    assert found["Ray"]["status"] == "warn"
    assert "--runner inline works" in found["Ray"]["found"]
    assert found["TensorRT"]["status"] == "warn"
    assert "libnvinfer.so.10" in found["TensorRT"]["found"]
    assert "--engine torch" in found["TensorRT"]["advice"]
    assert found["TensorRT for RTX"]["status"] == "ok"  # its third module works
    assert found["encoders"]["status"] == "ok"


def test_a_tensorrt_that_ends_the_process_and_no_av(tmp_path: Path) -> None:
    found = check_with_broken(
        {
            "tensorrt": "import os; os.abort()",
            "av": "raise ImportError('libavcodec.so is missing')",
        },
        tmp_path,
    )
    assert found["TensorRT"]["status"] == "warn"
    assert found["FFmpeg libraries"]["status"] == "fail"
    assert "libavcodec.so" in found["FFmpeg libraries"]["found"]


def test_a_tensorrt_whose_builder_does_not_start(tmp_path: Path) -> None:
    code = """
__version__ = "10.9.0"
class Logger:
    ERROR = 1
    def __init__(self, level): pass
def Builder(logger): raise RuntimeError("CUDA driver version is insufficient")
"""
    found = check_with_broken({"tensorrt": code}, tmp_path)
    assert found["TensorRT"]["status"] == "warn"
    assert "driver version is insufficient" in found["TensorRT"]["found"]


def test_a_tensorrt_that_is_too_old_for_the_engine(tmp_path: Path) -> None:
    code = """
__version__ = "8.6.1"
class Logger:
    ERROR = 1
    def __init__(self, level): pass
def Builder(logger): pass
"""
    found = check_with_broken({"tensorrt": code}, tmp_path)
    assert found["TensorRT"]["status"] == "warn"
    assert found["TensorRT"]["found"].startswith("tensorrt 8.6.1 is too old")
    advice = "install TensorRT 10 or newer, or TensorRT for RTX, or try --engine torch"
    assert found["TensorRT"]["advice"] == advice


def test_tensorrt_is_not_loaded_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    found = by_name(list(doctor.check_tensorrt()))
    assert found["TensorRT for RTX"].status == "ok"


def test_without_a_program_for_vmaf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.measuring.vmaf.find_program", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (none,) = doctor.check_programs()
    assert (none.status, "only `pipeline evaluate --vmaf` needs one" in none.found) == ("ok", True)
    (tmp_path / "ffmpeg").touch(0o755)
    (bare,) = doctor.check_programs()
    assert f"{tmp_path / 'ffmpeg'}, without VMAF" in bare.found


def test_a_full_disk_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 2e8, "total": 1e9})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert {check.status for check in doctor.check_disk()} == {"fail"}


def test_a_cache_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "here"))
    (good,) = doctor.check_cache()
    assert (good.status, str(tmp_path / "here") in good.found) == ("ok", True)
    monkeypatch.setenv("PIPELINE_CACHE_GB", "many")
    (bad,) = doctor.check_cache()
    assert bad.status == "fail"
    assert "many" in bad.found


def test_wrong_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["numpy>=99", "nothing-such>=1"])
    (check,) = doctor.check_packages()
    assert check.status == "fail"
    assert "numpy" in check.found
    assert "nothing-such is missing" in check.found


def test_every_status_but_ok_has_advice() -> None:
    assert all(check.advice for check in run_checks() if check.status != "ok")
