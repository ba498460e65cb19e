"""Whole runs whose output has another size than the network's frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crossnetpp.metrics import measure_quality
from pipeline.api import enhanced_frames
from pipeline.assembly.finish import find_differences
from pipeline.errors import InputError
from pipeline.execution.resize import fit_result
from pipeline.media.pictures.stills import load_picture, save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.paths import sha256
from pipeline.planning.edited_plan import load_plan
from pipeline.report.rows import FinishedRun, measure_rows
from pipeline.runs.run import run
from pipeline.schema.plan_file import read_plan
from pipeline.schema.run_options import RunOptions
from pipeline.schema.settings import RunSettings
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.killed_command import run_until
from tests.support.recordings import settings_for, write_video

FRAMES = 12
EVERY = 6

Picture = NDArray[np.uint8]


def reduce(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture reduced by another program."""
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(small, np.uint8)


@pytest.fixture(scope="module")
def truth() -> list[Picture]:
    """Return frames of a clip at 240 x 144."""
    found = []
    for frame in read_frames(probe(str(DATA / "big_buck_bunny_720p.mp4"))):
        found.append(np.ascontiguousarray(frame.rgb[300:444, 500:740], np.uint8))
        if len(found) == FRAMES:
            break
    return found


@pytest.fixture(scope="module")
def folder(truth: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with hr.mkv, keys.mkv, and inputs at a third, two thirds and all its size."""
    made = tmp_path_factory.mktemp("sizes")
    write_video(made / "hr.mkv", truth, gop=4)
    write_video(made / "keys.mkv", truth, every=EVERY)
    for name, (width, height) in {"third": (80, 48), "two": (160, 96), "same": (240, 144)}.items():
        write_video(made / f"{name}.mkv", [reduce(f, width, height) for f in truth], gop=4)
    return made


def settings(folder: Path, name: str, output: Path, **changes: Any) -> RunSettings:
    return settings_for(
        (folder / f"{name}.mkv", folder / "keys.mkv"), output, **{"segment": 0.16} | changes
    )


def read(path: Path | str) -> list[NDArray[Any]]:
    return [frame.rgb for frame in read_frames(probe(str(path)))]


@pytest.mark.parametrize(
    ("name", "options", "size", "scale", "ratio"),
    [
        ("third", {"scale": 3}, (240, 144), 4, 3),
        ("third", {"size": "reference"}, (240, 144), 4, 3),
        ("third", {"size": "108p"}, (180, 108), 4, 2.25),
        ("third", {"scale": "1.1"}, (88, 53), 2, 1.102),
        ("two", {"size": "reference"}, (240, 144), 2, 1.5),
        ("two", {"scale": 1.5}, (240, 144), 2, 1.5),
        ("two", {"size": "250x150"}, (250, 150), 2, 1.562),
        ("same", {"size": "reference"}, (240, 144), 2, 1),
        ("same", {"scale": 1}, (240, 144), 2, 1),
    ],
)
def test_an_output_has_the_wanted_size_and_passes_verification(
    folder: Path,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    size: tuple[int, int],
    scale: int,
    ratio: float,
) -> None:
    output = tmp_path / "out.mkv"
    exact = {"codec": "ffv1", "pix_fmt": "bgr0", "preset": None}
    result = run(settings(folder, name, output, **exact, **options))
    made = probe(str(output))
    plan = read_plan(tmp_path / "out.plan.json")
    assert (made.width, made.height) == (plan.width, plan.height) == size
    assert (result.width, result.height, result.scale) == (*size, ratio)
    assert plan.scale == scale
    assert list(scan(made).pts) == [round(1000 * n / 25) for n in range(FRAMES)]

    # the bicubic engine borrows nothing: the output is the input, enlarged once
    for ours, small in zip(read(output), read(folder / f"{name}.mkv"), strict=True):
        plain = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
        assert np.array_equal(ours, plain)

    done = invoke("verify", folder / f"{name}.mkv", output, "--json")
    assert json.loads(done.stdout)["differences"] == []


def measure(pictures: list[NDArray[Any]], truth: list[Picture]) -> float:
    """Return the mean PSNR in dB of frames that are no key frames."""
    pairs = list(zip(pictures, truth, strict=False))[1:EVERY]
    return float(np.mean([measure_quality(np.asarray(a, np.uint8), b).psnr for a, b in pairs]))


@pytest.mark.parametrize(
    ("name", "scale", "gain"), [("third", 4, 5), ("two", 2, 2), ("same", 2, -1)]
)
def test_the_network_s_detail_is_resized_once_and_gains_over_plain_up_sampling(
    folder: Path, truth: list[Picture], name: str, scale: int, gain: float
) -> None:
    files = folder / f"{name}.mkv", folder / "keys.mkv"
    wanted: tuple[RunOptions, RunOptions] = {"scale": scale}, {"size": "reference"}
    large, fitted = (
        [frame.rgb for frame in enhanced_frames(*files, engine="torch", end=0.16, **options)]
        for options in wanted
    )
    small = read(files[0])[: len(fitted)]
    for ours, grid, lr in zip(fitted, large, small, strict=True):
        assert ours.shape == (144, 240, 3)
        assert np.array_equal(ours, fit_result(grid, lr, 144, 240))

    plain = [cv2.resize(lr, (240, 144), interpolation=cv2.INTER_CUBIC) for lr in small]
    assert measure(fitted, truth) > measure(plain, truth) + gain


@pytest.mark.parametrize(("source", "scale", "loss"), [("third", 3, 0.1), ("two", 1.5, 0.5)])
def test_an_unrelated_reference_makes_it_hardly_worse(
    folder: Path, truth: list[Picture], tmp_path: Path, source: str, scale: float, loss: float
) -> None:
    other = tmp_path / "other.png"
    with Image.open(DATA / "stereo" / "motorcycle_left.png") as picture:
        picture.convert("RGB").resize((240, 144)).save(other)
    lr = folder / f"{source}.mkv"
    made = [f.rgb for f in enhanced_frames(lr, other, engine="torch", end=0.12, scale=scale)]
    plain = [cv2.resize(f, (240, 144), interpolation=cv2.INTER_CUBIC) for f in read(lr)]
    assert measure(made, truth) > measure(plain[: len(made)], truth) - loss


def test_without_options_a_reference_of_another_size_decides_only_the_scale(
    folder: Path, tmp_path: Path
) -> None:
    result = run(settings(folder, "two", tmp_path / "out.mkv"))
    assert (result.width, result.height, result.scale) == (320, 192, 2)
    shown = invoke("plan", folder / "two.mkv", "--ref-stream", folder / "keys.mkv").stdout
    assert "160x96 -> 320x192 (x2), " in shown
    assert "works at" not in shown
    assert "for an output of 240x144, the reference's size, try --size reference" in shown


def test_a_plan_states_the_size_and_can_be_edited(folder: Path, tmp_path: Path) -> None:
    files = [folder / "third.mkv", "--ref-stream", folder / "keys.mkv"]
    saved = tmp_path / "plan.json"
    shown = invoke("plan", *files, "--size", "144p", "--save", saved, "-o", tmp_path / "a.mkv")
    assert "80x48 -> 240x144 (x3, by the network x4), 12 frames" in shown.stdout
    assert "the network works at x4 (320x192), and its result is resized to 240x144" in shown.stdout
    assert "try --size reference" not in shown.stdout
    plan = read_plan(saved).model_copy(update={"engine": "bicubic"})
    assert (plan.scale, plan.width, plan.height) == (4, 240, 144)

    larger = plan.model_copy(update={"width": 300, "height": 180})
    assert larger.digest() != plan.digest()
    saved.write_text(larger.model_dump_json())
    given = {"input": str(folder / "third.mkv"), "ref_stream": str(folder / "keys.mkv")}
    given |= {"output": str(tmp_path / "b.mkv"), "plan": str(saved)}
    result = run(RunSettings.model_validate(given))
    assert (result.width, result.height, result.scale) == (300, 180, 3.75)

    for option in ({"size": "300x180"}, {"scale": "3.75"}, {"scale": "auto"}, {"size": "180p"}):
        assert load_plan(saved, RunSettings.model_validate(given | option | {"force": True}))
    for option in ({"size": "144p"}, {"scale": "4"}, {"size": "reference"}):
        with pytest.raises(InputError, match=r"does not match .*, which is 300x180 \(x3.75\)"):
            load_plan(saved, RunSettings.model_validate(given | option | {"force": True}))

    for width, height, scale in ((240, 160, 4), (240, 144, 8), (160, 96, 4), (648, 392, 8)):
        edited = plan.model_copy(update={"width": width, "height": height, "scale": scale})
        saved.write_text(edited.model_dump_json())
        with pytest.raises(InputError, match=f"size {width}x{height} .* times the scale {scale};"):
            load_plan(saved)


def test_bad_sizes_are_refused_in_one_line_and_leave_nothing(folder: Path, tmp_path: Path) -> None:
    files = [folder / "third.mkv", "--ref-stream", folder / "keys.mkv", "-o", tmp_path / "o.mkv"]
    for options in (
        ["--size", "240x160"],
        ["--size", "4k"],
        ["--size", "20x12"],
        ["--size", "241x145"],
        ["--size", "240"],
        ["--size", ""],
        ["--scale", "9"],
        ["--scale", "three"],
        ["--scale", "2", "--size", "reference"],
    ):
        for command in ("run", "plan"):
            done = invoke(command, *files, *options)
            assert done.exit_code == 2, (options, done.output)
            lines = done.stderr.splitlines()
            assert len([line for line in lines if "error: " in line]) == 1, lines
            assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_resumed_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    files = [folder / "third.mkv", "--ref-stream", folder / "keys.mkv"]
    options = ["--scale", "3", "--engine", "torch", "--adapt", "off", "--segment", "0.16"]
    command = ["run", *files, *options, "--runner", "inline", "--preset", "ultrafast", "-o"]
    assert invoke(*command, tmp_path / "whole.mkv").exit_code == 0

    output = tmp_path / "out.mkv"
    run_until("os.rename", "00001.json", *command, output)
    assert not output.exists()
    done = invoke(*command, output, "--json")
    answer = json.loads(done.stdout)
    assert answer["resumed_segments"] == 1
    assert (answer["width"], answer["height"], answer["scale"]) == (240, 144, 3)
    assert sha256(output) == sha256(tmp_path / "whole.mkv")


def test_a_run_of_another_size_is_not_resumed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    files = ["run", folder / "third.mkv", "--ref-stream", folder / "keys.mkv", "-o", output]
    options = ["--engine", "bicubic", "--runner", "inline", "--segment", "0.16"]
    run_until("os.rename", "00001.json", *files, *options, "--scale", "3")
    answer = json.loads(invoke(*files, *options, "--scale", "4", "--json").stdout)
    assert (answer["resumed_segments"], answer["width"]) == (0, 320)
    # the same size by another option is the same run
    assert json.loads(invoke(*files, *options, "--scale", "4", "--json").stdout)["fps"] == 0


@pytest.mark.ray
def test_ray_gives_the_same_bits(folder: Path, tmp_path: Path) -> None:
    outputs = []
    for runner in ("inline", "ray"):
        output = tmp_path / f"{runner}.mkv"
        options = {"runner": runner, "engine": "torch", "adapt": "off", "size": "reference"}
        run(settings(folder, "two", output, **options))
        outputs.append(sha256(output))
    assert outputs[0] == outputs[1]


def test_verification_notices_another_size(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    run(settings(folder, "third", output, scale=3))
    plan = read_plan(tmp_path / "out.plan.json")
    assert find_differences(plan, [], output) == []
    wanted = plan.model_copy(update={"width": 250, "height": 150})
    assert find_differences(wanted, [], output) == ["size is (240, 144), expected (250, 150)"]

    # without the plan, any size that an output can have is right, and no other
    write_video(tmp_path / "cut.mkv", [frame[:, :200] for frame in read(output)])
    done = invoke("verify", folder / "third.mkv", tmp_path / "cut.mkv", "--json")
    assert json.loads(done.stdout)["differences"][0] == "size is (200, 144), expected (160, 96)"


def test_quality_is_measured_at_the_size_of_the_output(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    truth, page = folder / "hr.mkv", tmp_path / "report.html"
    files = ["run", folder / "third.mkv", "--ref-stream", folder / "keys.mkv", "-o", output]
    options = ["--engine", "torch", "--adapt", "off", "--runner", "inline", "--size", "reference"]
    done = invoke(*files, *options, "--ground-truth", truth, "--report", page, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)

    evaluated = json.loads(invoke("evaluate", output, "--ground-truth", truth, "--json").stdout)
    assert evaluated["psnr"] == answer["psnr"] > 35
    text = page.read_text()
    assert "144 (\N{MULTIPLICATION SIGN}3, by the network \N{MULTIPLICATION SIGN}4)" in text
    assert "result is resized to 240x144" in text

    lossless = tmp_path / "side.mkv"
    assert invoke("compare", folder / "third.mkv", output, "-o", lossless).exit_code == 0
    assert probe(str(lossless)).height == 144

    other = invoke(*files, *options, "--force", "--ground-truth", folder / "two.mkv")
    assert other.exit_code == 2
    assert "the ground truth is 160x96, but the output will be 240x144" in other.stderr


def test_downscale_consistency_is_measured_on_the_network_s_grid(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    run(settings(folder, "two", output, size="reference", crf=5))
    with FinishedRun(read_plan(tmp_path / "out.plan.json"), output, None) as finished:
        rows = measure_rows(finished)
        pictures = finished.read_pictures(0)
    assert pictures.reference is not None
    assert pictures.reference.shape == pictures.result.shape == (144, 240, 3)
    assert all(row.consistency > 38 for row in rows)
    assert all(row.borrowed < 1 for row in rows)


def test_pictures_and_numbered_pictures_get_the_size(
    folder: Path, truth: list[Picture], tmp_path: Path
) -> None:
    save_picture(tmp_path / "lr.png", reduce(truth[0], 81, 49))
    save_picture(tmp_path / "hr.png", truth[0])
    files = tmp_path / "lr.png", "--ref-stream", tmp_path / "hr.png", "--engine", "bicubic"
    assert invoke("run", *files, "--scale", "1.5").exit_code == 0
    assert load_picture(tmp_path / "lr_x1.5.png").shape == (74, 122, 3)  # odd sides are possible
    assert invoke("run", *files, "--size", "243x147").exit_code == 0
    assert load_picture(tmp_path / "lr_243x147.png").shape == (147, 243, 3)

    frames = tmp_path / "frames" / "%03d.png"
    files = folder / "third.mkv", "--ref-stream", folder / "keys.mkv", "--engine", "bicubic"
    assert invoke("run", *files, "--size", "reference", "-o", frames).exit_code == 0
    for number, small in enumerate(read(folder / "third.mkv"), start=1):
        made = load_picture(frames.parent / f"{number:03}.png")
        assert np.array_equal(made, cv2.resize(small, (240, 144), interpolation=cv2.INTER_CUBIC))
    assert invoke("verify", folder / "third.mkv", frames.parent).exit_code == 0
