"""`from pipeline import enhance, enhanced_frames`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import pipeline
from pipeline import InputError, api, errors
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.schema.run_options import RunOptions
from pipeline.schema.settings import RunSettings
from tests.support import ROOT, scenes
from tests.support.commands import invoke

PAIR_FRAMES = 12


def test_frames_are_those_a_run_writes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    given = {"engine": "bicubic", "segment": 0.2}
    output = tmp_path / "out.mkv"
    done = pipeline.enhance(*pair, output, codec="ffv1", pix_fmt="bgr0", **given)
    assert done.output == str(output)
    made = list(pipeline.enhanced_frames(*pair, **given))
    clip = probe(str(output))
    written = list(read_frames(clip))
    assert [f.seconds for f in made] == pytest.approx([clip.seconds(f.pts) for f in written])
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(made, written, strict=True))
    assert made[0].reference == 0


@pytest.mark.parametrize("output", ["out.mkv", "out/%04d.png", "out.mov"])
def test_frames_are_those_of_the_plan(pair: tuple[Path, Path], tmp_path: Path, output: str) -> None:
    plan = tmp_path / "plan.json"
    words = ("--ref-stream", pair[1], "--engine", "bicubic", "--end", 0.2, "--size", "192x144")
    (tmp_path / "out").mkdir()
    assert invoke("plan", pair[0], *words, "-o", tmp_path / output, "--save", plan).exit_code == 0
    frames = list(pipeline.enhanced_frames(*pair, plan=plan))
    assert [frame.rgb.shape for frame in frames] == [(144, 192, 3)] * 5
    with pytest.raises(InputError, match="--size 96x72 does not match the size in the plan"):
        next(pipeline.enhanced_frames(*pair, plan=plan, size="96x72"))
    with pytest.raises(InputError, match="none"):
        next(pipeline.enhanced_frames(*pair, plan=tmp_path / "none.json"))


def test_frames_leave_nothing_behind(pair: tuple[Path, Path]) -> None:
    before = sorted(pair[0].parent.iterdir())
    first = next(pipeline.enhanced_frames(*pair, engine="bicubic", end=0.1))
    assert first.rgb.shape == (96, 128, 3)
    assert sorted(pair[0].parent.iterdir()) == before


def test_the_default_output_is_beside_the_input(pair: tuple[Path, Path]) -> None:
    done = pipeline.enhance(*pair, engine="bicubic", end=0.1, preset="ultrafast")
    assert done.output == str(pair[0].with_name("lr_x2.mkv"))
    with pytest.raises(InputError, match="already exists"):
        pipeline.enhance(*pair, engine="bicubic", end=0.1, crf=30)


def test_mistakes_are_input_errors(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        pipeline.enhance(tmp_path / "none.mkv", pair[1])
    with pytest.raises(InputError, match="--sclae"):
        pipeline.enhance(*pair, sclae=2)
    with pytest.raises(InputError, match="warp9"):
        next(pipeline.enhanced_frames(*pair, engine="warp9"))


def test_the_typed_options_are_those_that_are_checked() -> None:
    assert set(RunOptions.__annotations__) == set(RunSettings.model_fields) - {
        "input",
        "ref_stream",
        "output",
    }


def test_a_type_checker_knows_the_options(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from pipeline import enhance\n"
        "enhance('a', 'b', scale=4, crf=18, force=True)\n"
        "enhance('a', 'b', sclae=4)\n"
        "enhance('a', 'b', runner='warp')\n"
    )
    command = [sys.executable, "-m", "mypy", str(program)]  # by the cache of `make types`
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "program.py" in line and "error" in line]
    assert [line.split("program.py:")[1].split(":")[0] for line in lines] == ["3", "4"]


def test_importing_the_package_is_light() -> None:
    code = "import sys, pipeline; assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_are_imported_without_torch_or_ray() -> None:
    code = (
        "import sys; from pipeline import InputError, PipelineError; "
        "assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_exported_members() -> None:
    functions_and_types = {
        name
        for name, value in vars(api).items()
        if callable(value) and not name.startswith("_")
        if getattr(value, "__module__", "") == api.__name__
    }
    exceptions = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.PipelineError)
    }
    others = {"Enhancer", "RunResult"}
    assert set(pipeline.__all__) == functions_and_types | exceptions | others
    assert pipeline.__all__ == sorted(pipeline.__all__)
    assert set(pipeline.__all__) <= set(dir(pipeline))
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name


def test_an_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'warp'"):
        _ = pipeline.warp


@pytest.mark.parametrize("count", [1, 3])
def test_frames_of_pictures_are_enhanced(tmp_path: Path, count: int) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for number in range(count):
        cv2.imwrite(str(small / f"{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    cv2.imwrite(str(tmp_path / "ref.png"), np.zeros((96, 128, 3), np.uint8))
    given = small if count > 1 else small / "0.png"
    frames = list(pipeline.enhanced_frames(given, tmp_path / "ref.png", engine="bicubic"))
    assert [frame.rgb.shape for frame in frames] == [(96, 128, 3)] * count


def test_frames_of_a_light_field_are_enhanced(tmp_path: Path) -> None:
    for row in range(2):
        for col in range(2):
            sharp = scenes.flowers(row, col)
            name = f"view_{row:02}_{col:02}.png"
            scenes.save_picture(tmp_path / "lr" / name, sharp[::2, ::2])
            scenes.save_picture(tmp_path / "hr" / name, sharp)
    frames = list(pipeline.enhanced_frames(tmp_path / "lr", tmp_path / "hr", engine="bicubic"))
    assert [frame.rgb.shape for frame in frames] == [scenes.flowers(0, 0).shape] * 4
    options = {"to": "mosaic", "engine": "bicubic"}
    again = list(pipeline.enhanced_frames(tmp_path / "lr", tmp_path / "hr", **options))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, again, strict=True))
    with pytest.raises(InputError, match="consistent=True is not possible"):
        next(pipeline.enhanced_frames(tmp_path / "lr", tmp_path / "hr", consistent=True))
