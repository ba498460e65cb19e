"""The capture in plans: measured where there is a common instant, named, from a file, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crossnetpp.data.degradation import Kernel, degrade
from pipeline.pairing.capture import join_capture, make_taps, make_transform
from pipeline.schema.capture import Capture
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.recordings import write_video
from tests.support.scenes import Picture, flowers, save_picture

CLIP = DATA / "big_buck_bunny_720p.mp4"
BOX = np.pad(np.full((4, 4), 1 / 16), 6)  # means of 4 x 4 pixels as a kernel of 16 x 16


def read_clip(frames: int = 25, height: int = 240, width: int = 320) -> list[Picture]:
    """Return a real pan, uint8 H x W x 3."""
    source = cv2.VideoCapture(str(CLIP))
    source.set(cv2.CAP_PROP_POS_FRAMES, 60)
    shown = [source.read()[1][240 : 240 + height, 400 : 400 + width] for _ in range(frames)]
    return [np.ascontiguousarray(frame[..., ::-1]) for frame in shown]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings of one clip by means of pixels, and its key frames."""
    path = tmp_path_factory.mktemp("capture")
    sharp = read_clip()
    write_video(path / "lr.mkv", [degrade(frame, 4, "area") for frame in sharp])
    write_video(path / "keys.mkv", sharp, every=12)
    save_picture(path / "still.png", sharp[6])
    return path


def plan(lr: Path, ref: Path, *options: object) -> tuple[Plan, str]:
    """Return the plan, and the note on the capture."""
    done = invoke("plan", lr, "--ref-stream", ref, "--scale", 4, *options, "--json", "-q")
    assert done.exit_code == 0, done.stderr
    made = Plan.model_validate_json(done.stdout)
    notes = [note for note in made.notes if note.startswith("capture: ")]
    assert len(notes) <= 1
    return made, "".join(notes)


def refuse(*arguments: object) -> str:
    """Return the only line of a refusal."""
    done = invoke("plan", *arguments, "-q")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    return line


def test_means_of_pixels_are_measured_at_key_frames(folder: Path) -> None:
    made, note = plan(folder / "lr.mkv", folder / "keys.mkv")
    assert made.capture is not None
    assert made.capture.source == "measured"
    assert [pts for pts in made.capture.pairs] == [made.reference_map[i].pts for i in (0, 12, 24)]
    # the codec of the test recordings is nearly lossless
    assert np.abs(join_capture(made.capture) - BOX).sum() < 0.35
    assert made.capture.fits_db is not None
    assert made.capture.bicubic_db is not None
    assert made.capture.fits_db > made.capture.bicubic_db + 1
    assert note == (
        f"capture: measured at 3 key frames, where a kernel {made.capture.width:.1f} LR pixels "
        f"wide, shifted by ({made.capture.shift[0]:.2f}, {made.capture.shift[1]:.2f}) pixels, fits "
        f"the input to {made.capture.fits_db:.1f} dB (bicubic: {made.capture.bicubic_db:.1f} dB)"
    )

    again, _ = plan(folder / "lr.mkv", folder / "keys.mkv")
    assert again == made
    plain, silence = plan(folder / "lr.mkv", folder / "keys.mkv", "--capture", "bicubic")
    assert plain.capture is None
    assert silence == ""
    assert plain.digest() != made.digest()


def test_a_recording_by_the_bicubic_kernel_keeps_it(folder: Path, tmp_path: Path) -> None:
    lr = write_video(tmp_path / "lr.mkv", [degrade(frame, 4) for frame in read_clip()])
    made, note = plan(lr, folder / "keys.mkv")
    assert made.capture is None or made.capture.shape == "bicubic"
    assert note.startswith("capture: measured at 3 key frames, ")


@pytest.mark.parametrize(("offset", "note"), [
    (0.02, "capture: no reference shows the same instant as a frame, so nothing is measured and "
     "the bicubic kernel is assumed"),
    (0.32, "capture: nothing is measured, because only 1 of 2 pairs shows the same instant in LR "
     "and HR (something moved); the bicubic kernel is assumed"),
])  # fmt: skip
def test_references_of_other_instants_measure_nothing(
    folder: Path, offset: float, note: str
) -> None:
    made, found = plan(folder / "lr.mkv", folder / "keys.mkv", "--ref-offset", offset)
    assert made.capture is None
    assert found == note


def test_a_still_without_a_time_measures_nothing(folder: Path) -> None:
    made, note = plan(folder / "lr.mkv", folder / "still.png")
    assert made.capture is None
    assert note.startswith("capture: not measured, because a single picture is not assigned to any")


def test_stills_measure_the_capture_once_their_names_contain_their_times(
    folder: Path, tmp_path: Path
) -> None:
    sharp = read_clip()
    names = ("IMG_0001", "IMG_0002")
    for name, number in zip(names, (6, 18), strict=True):
        save_picture(tmp_path / f"{name}.png", sharp[number])
    made, note = plan(folder / "lr.mkv", tmp_path)
    assert made.capture is None
    assert note == (
        "capture: not measured, and the bicubic kernel is assumed, because it is not known which "
        "instants the pictures show; if you know them, put them into the names, such as "
        "IMG_0001_3.5s.jpg"
    )

    for name, seconds in zip(names, ("0.24s", "0.72s"), strict=True):
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}_{seconds}.png")
    made, note = plan(folder / "lr.mkv", tmp_path)
    assert made.capture is not None
    assert note.startswith("capture: measured at 2 key frames")


def test_the_bicubic_engine_needs_no_measurement(folder: Path) -> None:
    made, note = plan(folder / "lr.mkv", folder / "keys.mkv", "--engine", "bicubic")
    assert (made.capture, note) == (None, "")


def test_a_camera_with_a_wider_view_is_measured_where_it_shows_the_input(tmp_path: Path) -> None:
    wide = read_clip(13, 400, 560)
    inner = [frame[80:320, 120:440] for frame in wide]
    lr = write_video(tmp_path / "lr.mkv", [degrade(frame, 4, "area") for frame in inner])
    ref = write_video(tmp_path / "ref.mkv", wide)
    made, note = plan(lr, ref)
    assert made.reference.affine is not None
    assert note.startswith("capture: measured at ")


@pytest.mark.parametrize("kernel", ["area", "bicubic"])
def test_given_views_of_a_light_field_are_measured(tmp_path: Path, kernel: Kernel) -> None:
    for row in range(3):
        for col in range(3):
            large = cv2.resize(flowers(row, col), (256, 192), interpolation=cv2.INTER_CUBIC)
            name = f"view_{row:02}_{col:02}.png"
            save_picture(tmp_path / "lr" / name, degrade(large, 2, kernel))
            if (row, col) in ((0, 0), (2, 2)):
                save_picture(tmp_path / "hr" / name, large)
    done = invoke("plan", tmp_path / "lr", "--ref-stream", tmp_path / "hr", "--json", "-q")
    assert done.exit_code == 0, done.stderr
    made = Plan.model_validate_json(done.stdout)
    (note,) = [each for each in made.notes if each.startswith("capture: ")]
    assert note.startswith("capture: measured at 2 views, ")
    assert (made.capture is None) == (kernel == "bicubic")
    if made.capture is not None:
        assert np.abs(join_capture(made.capture) - np.pad(np.full((2, 2), 0.25), 3)).sum() < 0.1


def test_colours_of_another_exposure_are_measured(folder: Path, tmp_path: Path) -> None:
    table = np.asarray((np.arange(256) * 0.8 + 12).round(), np.uint8)
    ref = write_video(tmp_path / "keys.mkv", [table[frame] for frame in read_clip()], every=12)
    made, note = plan(folder / "lr.mkv", ref)
    assert note.endswith("; the colours of the reference are converted to the input's")
    transform = make_transform(made.capture)
    assert transform is not None
    assert transform.apply(np.full(3, 92 / 255)) * 255 == pytest.approx(np.full(3, 100), abs=3)


def test_a_sensor_is_set(folder: Path) -> None:
    made, note = plan(folder / "lr.mkv", folder / "keys.mkv", "--capture", "sensor")
    assert made.capture is not None
    assert join_capture(made.capture) == pytest.approx(BOX)
    assert note == "capture: averages of pixels, as requested"


def test_a_plan_or_its_capture_is_a_file_for_another_run(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    made, _ = plan(folder / "lr.mkv", folder / "keys.mkv", "--save", saved)
    assert made.capture is not None
    text = saved.read_text()
    assert '"rows": [\n   [' in text  # a line for each list of weights
    assert read_plan(saved).capture == made.capture

    alone = tmp_path / "capture.json"
    alone.write_text(json.dumps(json.loads(text)["capture"]))
    for file in (saved, alone):
        again, note = plan(folder / "lr.mkv", folder / "still.png", "--capture", file)
        assert again.capture == made.capture.model_copy(update={"source": "file"})
        assert note == f"capture: taken from {file}"


def edit_capture(made: Plan, **changes: object) -> dict[str, Any]:
    assert made.capture is not None
    return json.loads(made.capture.model_dump_json()) | changes


def test_captures_that_cannot_be_used_are_refused(folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "lr.mkv", "--ref-stream", folder / "keys.mkv", "--capture")
    made, _ = plan(folder / "lr.mkv", folder / "keys.mkv", "--capture", "sensor")
    weights = [0.0] * 6 + [0.25] * 4 + [0.0] * 6
    file = tmp_path / "capture.json"
    for changes, problem in [
        ({"rows": [[2 * weight for weight in weights]]}, "the kernel sums to 2, but must sum to 1"),
        (
            {"rows": [weights[1:]]},
            "the kernel has 1 rows and 1 columns with [15, 16] weights",
        ),
        ({"rows": [[float("nan"), *weights[1:]]]}, "rows: Input should be"),
        ({"scale": 2, "rows": [weights[4:12]], "columns": [weights[4:12]]}, "is for scale 2, but"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
    ]:
        file.write_text(json.dumps(edit_capture(made, **changes)))
        assert problem in refuse(*arguments, file)
    for text in ("", "[1, 2]", "{", '{"capture": null}', "\xff"):
        file.write_text(text, encoding="latin-1")
        assert str(file) in refuse(*arguments, file)
    file.write_text("[" * 100_000)
    assert "(not JSON)" in refuse(*arguments, file)
    assert "(not a file)" in refuse(*arguments, "/dev/zero")
    for path in (tmp_path / "none.json", tmp_path):
        assert f"cannot read a capture from {path}" in refuse(*arguments, path)


def test_an_edited_plan_is_checked_and_its_capture_is_kept(folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    made, _ = plan(folder / "lr.mkv", folder / "keys.mkv", "--save", saved)
    again, _ = plan(folder / "lr.mkv", folder / "keys.mkv", "--plan", saved, "--capture", "sensor")
    assert again.capture == made.capture
    assert any("--capture: ignored, because the plan decides" in note for note in again.notes)

    data = json.loads(saved.read_text())
    data["capture"]["rows"][0][7] += 0.5
    saved.write_text(json.dumps(data))
    line = refuse(folder / "lr.mkv", "--ref-stream", folder / "keys.mkv", "--plan", saved)
    assert "capture: the kernel sums to" in line

    del data["capture"]
    saved.write_text(json.dumps(data))
    assert read_plan(saved).capture is None


def test_taps_for_engines_sum_to_one() -> None:
    row = (0.0,) * 6 + (0.25, 0.25, 0.25, 0.2501) + (0.0,) * 6
    capture = Capture(source="file", scale=4, rows=(row, row), columns=(row, (0.0,) * 16))
    taps = make_taps(capture)
    assert taps is not None
    assert taps.shape == (2, 2, 16)
    kernel = np.einsum("tr,tc->rc", taps[:, 0], taps[:, 1])
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel == pytest.approx(join_capture(capture), abs=1e-6)
    assert make_taps(None) is None
