"""Plans whose references are photographs or differ in rotation, aspect ratio or start."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, PairingError
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support import DATA, ROOT
from tests.support.recordings import texture, write_pair, write_video

MONSTER = ROOT / "pipeline" / "samples" / "monster.mp4"
TAKEN = 0x9003


def plan_of(folder: Path, lr: Path, ref: Path, **changes: object) -> Plan:
    values = {"input": str(lr), "ref_stream": str(ref), "output": str(folder / "out.mkv")}
    return make_plan(RunSettings(**(values | changes)))  # type: ignore[arg-type]


def write_photograph(path: Path, rgb: np.ndarray, taken: str) -> Path:
    """Write a JPEG with the EXIF date of a camera."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[TAKEN] = taken
    Image.fromarray(rgb).save(path, exif=exif, quality=95)
    return path


@pytest.fixture(scope="module")
def shown() -> list[np.ndarray]:
    """Return the frames of the sample at 360 x 240."""
    frames = read_frames(probe(str(MONSTER)))
    return [cv2.resize(f.rgb, (360, 240), interpolation=cv2.INTER_AREA) for f in frames]


@pytest.fixture(scope="module")
def lr(shown: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = [cv2.resize(f, (180, 120), interpolation=cv2.INTER_AREA) for f in shown]
    return write_video(tmp_path_factory.mktemp("lr") / "lr.mkv", small)


def test_one_photograph_serves_whatever_its_date(
    tmp_path: Path, lr: Path, shown: list[np.ndarray]
) -> None:
    photo = write_photograph(tmp_path / "photo.jpg", shown[30], "2025:06:01 12:00:00")
    plan = plan_of(tmp_path, lr, photo)
    assert plan.reference.select == "content"
    assert {c.ref_pts for c in plan.reference_map} == {0}
    with pytest.raises(PairingError, match="--select time"):
        plan_of(tmp_path, lr, photo, select="time")


def test_photographs_are_aligned_in_time_by_their_content(
    tmp_path: Path, lr: Path, shown: list[np.ndarray]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, at in enumerate((10, 35, 60)):
        write_photograph(photos / f"{number}.jpg", shown[at], f"2025:06:01 12:00:0{5 + number}")
    plan = plan_of(tmp_path, lr, photos)
    assert plan.reference.select == "time"
    served = {c.pts: c.ref_pts for c in plan.reference_map}
    times = {c.pts: round(probe(str(lr)).seconds(c.pts) * 25) for c in plan.reference_map}
    assert {times[pts]: ref for pts, ref in served.items() if times[pts] in (10, 35, 60)} == {
        10: 0,
        35: 1,
        60: 2,
    }
    given = plan_of(tmp_path, lr, photos, ref_offset=0.0)
    assert [c.ref_pts for c in given.reference_map][:5] == [0] * 5
    assert given.reference_map[0].seconds == pytest.approx(0, abs=1e-3)


def test_photographs_of_something_else_start_with_the_input(tmp_path: Path, lr: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        other = texture(7 * number, 240, 360)[::-1]
        write_photograph(photos / f"{number}.jpg", other, f"2025:06:01 12:00:0{5 + number}")
    plan = plan_of(tmp_path, lr, photos)
    assert any(
        "first photograph is assumed to have been taken at the input's start" in n
        for n in plan.notes
    )
    with pytest.raises(PairingError, match="cannot align the reference"):
        plan_of(tmp_path, lr, photos, ref_offset="auto")


def test_an_offset_is_found_from_the_pictures(
    tmp_path: Path, lr: Path, shown: list[np.ndarray]
) -> None:
    late = write_video(tmp_path / "late.mkv", shown[20:])
    plan = plan_of(tmp_path, lr, late, ref_offset="auto")
    assert plan.reference.offset == pytest.approx(20 / 25, abs=0.01)
    assert {round(c.seconds or 0.0, 2) for c in plan.reference_map[20:]} == {0.0}


def test_a_photograph_of_other_proportions_is_not_stretched(tmp_path: Path) -> None:
    # nothing to match: only the aspect ratio determines the position
    lr, _ = write_pair(tmp_path, height=96, width=192)
    ref = tmp_path / "photo.png"
    Image.fromarray(np.full((144, 192, 3), 90, np.uint8)).save(ref)
    plan = plan_of(tmp_path, lr, ref)
    assert plan.reference.affine == (1.0, 0.0, 0.0, 0.0, 1.0, 24.0)
    assert any("different proportions" in note for note in plan.notes)


def test_an_upright_photograph_is_turned_as_the_input_is_stored(tmp_path: Path) -> None:
    turned = DATA / "odd" / "rotate-buck-bunny.mp4"
    clip = probe(str(turned))
    *_, frame = read_frames(clip, end_pts=round(1.9 / clip.time_base))
    shown_upright = np.ascontiguousarray(np.rot90(frame.rgb, round(clip.rotation / 90)))
    still = tmp_path / "still.png"
    double = (2 * shown_upright.shape[1], 2 * shown_upright.shape[0])
    Image.fromarray(cv2.resize(shown_upright, double)).save(still)
    plan = plan_of(tmp_path, turned, still, start=1.7, end=1.9)
    assert plan.scale == 2
    assert plan.reference.affine == (0.0, -1.0, 2159.0, 1.0, 0.0, 0.0)
    similarity = plan.reference_map[-1].similarity
    assert similarity is not None
    assert similarity > 0.99


def test_selection_by_content_continues_past_corrupt_references(
    tmp_path: Path, lr: Path, shown: list[np.ndarray]
) -> None:
    ref = write_video(tmp_path / "ref.mkv", shown)
    ref.write_bytes(ref.read_bytes()[: ref.stat().st_size // 2])
    plan = plan_of(tmp_path, lr, ref, select="content")
    used = [c.ref_pts for c in plan.reference_map if c.ref_pts is not None]
    assert used
    assert {c.why for c in plan.reference_map} <= {"content", "kept", "too far", "unlike"}


def test_far_references_are_noted(tmp_path: Path, lr: Path, shown: list[np.ndarray]) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    for at in (0.0, 2.4):
        Image.fromarray(shown[round(at * 25)]).save(folder / f"key_{at}s.png")
    plan = plan_of(tmp_path, lr, folder)
    assert any("from more than 1 s away" in note for note in plan.notes)


@pytest.mark.parametrize("name", ["../clips/lr.mkv", "link.mkv"])
def test_the_input_is_never_the_output_under_another_name(tmp_path: Path, name: str) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    lr, hr = write_pair(clips)
    (clips / "link.mkv").symlink_to(lr)
    with pytest.raises(InputError, match=r"is also the .*, which must not be replaced"):
        plan_of(clips, lr, hr, output=str(clips / name), force=True)


@pytest.mark.parametrize("field", ["ref_offset", "max_ref_distance", "start", "segment", "crf"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        RunSettings(input="x", **{field: value})  # type: ignore[arg-type]
