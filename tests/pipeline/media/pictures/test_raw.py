"""Raw photographs: developed, upright, with their times, and never taken for a run's own files."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.metrics import measure_quality
from pipeline.errors import InputError, MediaError
from pipeline.media.pictures import stills
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.planning.output import check_pictures_only
from pipeline.schema.plan_file import read_plan
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.raw import write_dng
from tests.support.recordings import write_video

# EXIF orientation -> what a camera stores of an upright picture; cameras write no mirrored ones
STORED = {1: 0, 3: 2, 6: 1, 8: 3}  # quarter turns to the left


@pytest.fixture(scope="module")
def photograph() -> NDArray[np.uint8]:
    whole = stills.load_picture(str(DATA / "kodak_21.jpg"))
    return np.ascontiguousarray(whole[100:292, 200:456], np.uint8)


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_a_photograph_is_developed_and_upright(
    orientation: int, photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    stored = np.rot90(photograph, STORED[orientation])
    file = write_dng(tmp_path / "a.DNG", np.ascontiguousarray(stored), orientation)
    clip = probe(str(file))
    assert (clip.kind, clip.width, clip.height, clip.bit_depth) == ("stills", 256, 192, 16)
    (frame,) = read_frames(clip)
    assert frame.rgb.dtype == np.uint16
    developed = np.rint(frame.rgb / 257).astype(np.uint8)
    assert measure_quality(developed, photograph).psnr > 32
    assert np.abs(developed.mean((0, 1)) - photograph.mean((0, 1))).max() < 0.5


def test_a_photograph_is_read_in_the_sandbox(photograph: NDArray[np.uint8], tmp_path: Path) -> None:
    file = write_dng(tmp_path / "a.dng", photograph)
    (confined,) = read_frames(probe(str(file), sandbox=True))
    np.testing.assert_array_equal(confined.rgb, stills.load_picture(str(file)))


def test_photographs_are_references_by_their_times(
    photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    frames = [np.roll(photograph, 2 * number, 1) for number in range(26)]
    small = [cv2.resize(each, None, fx=0.25, fy=0.25, interpolation=3) for each in frames]
    lr = write_video(tmp_path / "lr.mkv", [np.asarray(each, np.uint8) for each in small])
    keys = tmp_path / "keys"
    keys.mkdir()
    for number, second in ((0, 7), (25, 8)):
        taken = f"2026:05:06 07:08:{second:02d}"
        write_dng(keys / f"shot{second}.dng", frames[number], taken=taken)

    options = ("--adapt", "off", "--runner", "inline")
    out = tmp_path / "out.mkv"
    done = invoke("run", lr, "--ref-stream", keys, "-o", out, "--engine", "torch", *options)
    assert done.exit_code == 0, done.output
    plan = read_plan(tmp_path / "out.plan.json")
    exact = [n for n, choice in enumerate(plan.reference_map) if choice.seconds == 0.0]
    assert exact == [0, 25]
    made = [np.asarray(frame.rgb, np.uint8) for frame in read_frames(probe(str(out)))]
    plain = cv2.resize(small[3], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    gain = measure_quality(made[3], frames[3]).psnr - measure_quality(plain, frames[3]).psnr
    assert gain > 2


def test_photographs_beside_other_pictures_are_left_out_with_a_note(
    photograph: NDArray[np.uint8], tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    stills.save_picture(keys / "shot_1s.jpg", photograph)
    write_dng(keys / "shot_1s.dng", photograph)
    lr = write_video(tmp_path / "lr.mkv", [photograph[::4, ::4]] * 30)
    saved = tmp_path / "plan.json"
    done = invoke("plan", lr, "--ref-stream", keys, "--save", saved)
    assert done.exit_code == 0, done.output
    assert "files in its folder that are not read: 1 .dng" in done.stdout
    assert read_plan(saved).reference.clip.files == (str(keys / "shot_1s.jpg"),)


def test_a_damaged_photograph_is_one_line(photograph: NDArray[np.uint8], tmp_path: Path) -> None:
    file = write_dng(tmp_path / "a.dng", photograph)
    whole = file.read_bytes()
    for data in (whole[:40], whole[: len(whole) // 2], b"\0" * 500, b""):
        file.write_bytes(data)
        done = invoke("probe", file)
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1
    with pytest.raises(MediaError):
        stills.load_picture(str(file))


def test_without_rawpy_the_refusal_says_how_to_get_it(
    photograph: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_dng(tmp_path / "a.dng", photograph)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    done = invoke("probe", file)
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"{file} needs rawpy, which is not installed; try pip install" in line


def test_a_folder_of_photographs_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"a photograph")
    with pytest.raises(InputError, match=r"contains a\.dng besides pictures"):
        check_pictures_only(tmp_path)
