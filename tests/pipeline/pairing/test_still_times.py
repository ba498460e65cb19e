"""The times of reference pictures: from names, frame numbers, dates, or what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import PairingError
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings
from tests.support import DATA
from tests.support.recordings import write_video

Picture = np.ndarray
RATE = 25
KEYS = tuple(range(7, 61, 15))


@pytest.fixture(scope="module")
def shown() -> list[Picture]:
    """Return the first frames of a film at 320 x 180."""
    frames = read_frames(probe(str(DATA / "big_buck_bunny_720p.mp4")))
    small = [cv2.resize(f.rgb, (320, 180), interpolation=cv2.INTER_AREA) for f in frames]
    return small[:61]


@pytest.fixture(scope="module")
def lr(shown: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = [reduce(frame) for frame in shown]
    return write_video(tmp_path_factory.mktemp("lr") / "lr.mkv", small, rate=RATE)


def reduce(rgb: Picture) -> Picture:
    return cv2.resize(rgb, (160, 90), interpolation=cv2.INTER_AREA)


def write_pictures(folder: Path, pictures: dict[str, Picture]) -> Path:
    folder.mkdir()
    for name, rgb in pictures.items():
        Image.fromarray(rgb).save(folder / name)
    return folder


def plan_of(folder: Path, lr: Path, ref: Path, **changes: object) -> Plan:
    values = {"input": str(lr), "ref_stream": str(ref), "output": str(folder / "out.mkv")}
    return make_plan(RunSettings.model_validate(values | changes))


def list_served(plan: Plan, keys: tuple[int, ...]) -> list[int]:
    """Return the frames in `keys` that borrow from their own picture."""
    return [key for number, key in enumerate(keys) if plan.reference_map[key].ref_pts == number]


def find_source(plan: Plan) -> str:
    (note,) = [note for note in plan.notes if note.startswith("reference pictures: ")]
    count = len(plan.reference.clip.files)
    assert note.endswith(f" ({count} pictures)")
    return note.removeprefix("reference pictures: ").removesuffix(f" ({count} pictures)")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (lambda key: f"frame_{key:06}", "numbers in the names are frame numbers, from 0"),
        (lambda key: f"{key + 1:05}", "numbers in the names are frame numbers, from 1"),
        (lambda key: f"promo_15s_{key:04}", "numbers in the names are frame numbers, from 0"),
        (lambda key: f"plate.{key + 1001}", "numbers in the names are frame numbers, from 1001"),
        (lambda key: f"at_{key * 40:06}", "numbers in the names are pts"),
        (lambda key: f"x_{key / RATE:.2f}", "times from names like 0.28"),
        (lambda key: f"x_{key / RATE:.2f}s", "times from names like 0.28s"),
        (
            lambda key: f"00_00_{key // RATE:02}_{key % RATE:02}",
            "times from names like 00_00_00_07",
        ),
        (
            lambda key: f"01-00-{key // RATE:02}-{key % RATE:02}",
            "times from names like 01-00-00-07",
        ),
        (
            lambda key: f"vlcsnap-2023-11-27-00h00m0{key // RATE}s{key % RATE * 40:03}",
            "times from names like 00h00m00s280",
        ),
        (
            lambda key: f"IMG_20231127_00450{key // RATE}{key % RATE * 40:03}",
            "dates in names like 20231127_004500280, aligned by the pictures' content",
        ),
    ],
)
def test_names_place_the_pictures(
    tmp_path: Path, lr: Path, shown: list[Picture], name: Callable[[int], str], source: str
) -> None:
    stills = write_pictures(tmp_path / "ref", {f"{name(key)}.png": shown[key] for key in KEYS})
    plan = plan_of(tmp_path, lr, stills)
    assert find_source(plan) == source
    assert plan.reference.select == "time"
    assert list_served(plan, KEYS) == list(KEYS)
    assert [plan.reference_map[key].seconds for key in KEYS] == pytest.approx([0] * 4, abs=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        lambda number, _: f"{number + 1:04}",
        lambda number, _: f"{number:04}",
        lambda number, _: f"key_{10 * number + 10}",
        lambda number, _: f"promo_15s_{number:04}",
        lambda number, _: "abcd"[number],
        lambda _, key: f"DSC_{60 - key:04}",
        lambda number, _: f"vlcsnap-2023-11-27-00h45m0{number}s000",
    ],
)
def test_names_that_the_pictures_refute_are_ignored(
    tmp_path: Path, lr: Path, shown: list[Picture], name: Callable[[int, int], str]
) -> None:
    pictures = {f"{name(n, key)}.png": shown[key] for n, key in enumerate(KEYS)}
    plan = plan_of(tmp_path, lr, write_pictures(tmp_path / "ref", pictures))
    assert find_source(plan) == "their names give no usable times; matched by content"
    assert plan.reference.select == "content"
    assert plan.cuts == ()
    places = [sorted(pictures).index(f"{name(n, key)}.png") for n, key in enumerate(KEYS)]
    assert [plan.reference_map[key].ref_pts for key in KEYS] == places


def test_numbers_without_gaps_are_frames_if_the_pictures_are_alike(
    tmp_path: Path, lr: Path, shown: list[Picture]
) -> None:
    first = (0, 1, 2, 3)
    pictures = {f"{key + 1:04}.png": shown[key] for key in first}
    plan = plan_of(tmp_path, lr, write_pictures(tmp_path / "ref", pictures))
    assert find_source(plan) == "numbers in the names are frame numbers, from 1"
    assert list_served(plan, first) == list(first)


def test_numbers_count_from_the_beginning_of_the_recording(
    tmp_path: Path, lr: Path, shown: list[Picture]
) -> None:
    stills = write_pictures(tmp_path / "ref", {f"frame_{key}.png": shown[key] for key in KEYS})
    plan = plan_of(tmp_path, lr, stills, start=0.8)
    served = {round(c.pts * plan.input.time_base * RATE): c.ref_pts for c in plan.reference_map}
    assert [served[key] for key in KEYS if key >= 20] == [1, 2, 3]


def test_pictures_of_another_view_are_placed_by_number(
    tmp_path: Path, lr: Path, shown: list[Picture]
) -> None:
    def view(key: int) -> Picture:
        return cv2.resize(shown[key][40:140, 100:278], (320, 180))

    named = write_pictures(tmp_path / "a", {f"frame_{key}.png": view(key) for key in KEYS})
    assert list_served(plan_of(tmp_path, lr, named), KEYS) == list(KEYS)
    counted = write_pictures(tmp_path / "b", {f"DSC_{key}.png": view(key) for key in KEYS})
    assert plan_of(tmp_path, lr, counted).reference.select == "content"


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_in_two_folders_belong_together(
    tmp_path: Path, shown: list[Picture], few: bool, first: int
) -> None:
    keys = KEYS if few else tuple(range(20))
    count = 61 if few else 20
    lr = {f"lr_{key + first:04}.png": reduce(shown[key]) for key in range(count)}
    hr = {f"hr_{key + first}.jpg": shown[key] for key in keys}
    plan = plan_of(
        tmp_path,
        write_pictures(tmp_path / "lr", lr),
        write_pictures(tmp_path / "hr", hr),
        output=str(tmp_path / "out"),
    )
    assert find_source(plan) == "each belongs to the input's picture of the same number"
    assert list_served(plan, keys) == list(keys)
    assert {plan.reference_map[key].seconds for key in keys} == {0.0}


def test_the_same_names_belong_together_whatever_the_dates(
    tmp_path: Path, shown: list[Picture]
) -> None:
    lr = write_pictures(
        tmp_path / "lr", {f"{word}.png": reduce(shown[n]) for n, word in enumerate("abcdef")}
    )
    hr = tmp_path / "hr"
    hr.mkdir()
    for number, word in enumerate("abcdef"):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2025:06:01 12:00:{30 - number}"
        Image.fromarray(shown[number]).save(hr / f"{word}.jpg", exif=exif, quality=95)
    plan = plan_of(tmp_path, lr, hr, output=str(tmp_path / "out"))
    assert find_source(plan) == "each belongs to the input's picture of the same name"
    assert [choice.ref_pts for choice in plan.reference_map] == list(range(6))


def test_one_date_in_all_files_is_no_time(tmp_path: Path, lr: Path, shown: list[Picture]) -> None:
    stills = tmp_path / "ref"
    stills.mkdir()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2025:06:01 12:00:00"
    for key in KEYS:
        Image.fromarray(shown[key]).save(stills / f"frame_{key:04}.jpg", exif=exif, quality=95)
    assert list_served(plan_of(tmp_path, lr, stills), KEYS) == list(KEYS)


def test_a_refusal_says_where_the_times_come_from(
    tmp_path: Path, lr: Path, shown: list[Picture]
) -> None:
    stills = write_pictures(
        tmp_path / "ref", {f"{key}min_{key}m00s.png": shown[key] for key in KEYS}
    )
    with pytest.raises(PairingError, match=r"3120.00 s \(times from names like 7m00s\), which"):
        plan_of(tmp_path, lr, stills)


def test_an_edited_plan_keeps_the_times(tmp_path: Path, lr: Path, shown: list[Picture]) -> None:
    stills = write_pictures(tmp_path / "ref", {f"frame_{key}.png": shown[key] for key in KEYS})
    plan = plan_of(tmp_path, lr, stills)
    save_plan(plan, tmp_path / "plan.json")
    again = load_plan(tmp_path / "plan.json")
    assert again.digest() == plan.digest()
    assert {choice.why for choice in again.reference_map} <= {"nearest", "kept"}


def test_numbers_that_put_all_pictures_on_one_frame_are_no_milliseconds(
    shown: list[Picture], tmp_path: Path
) -> None:
    # nothing moves, so that likeness refutes no placement
    lr = write_video(tmp_path / "lr.mkv", [reduce(shown[0])] * 40, rate=RATE)
    names = (f"promo_15s_{take:04}.png" for take in (1, 2, 3))
    ref = write_pictures(tmp_path / "ref", dict.fromkeys(names, shown[0]))
    assert "milliseconds" not in find_source(plan_of(tmp_path, lr, ref))
