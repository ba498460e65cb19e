"""Pictures of key frames that another program treated, matched by keyframes.json or by names."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.schema.plan import Plan
from tests.support.commands import invoke
from tests.support.key_frames import (
    SIDECAR,
    enlarge,
    find_source,
    list_exact,
    plan_with,
    write_clip,
    write_keys,
    write_two_scenes,
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_scenes(tmp_path_factory.mktemp("clip") / "in.mp4")


@pytest.mark.parametrize(
    ("suffix", "appended"), [(".png", ""), (".jpg", ""), (".tif", "_x2"), (".png", "-out 2")]
)
def test_enlarged_pictures_are_matched_by_the_sidecar(
    suffix: str, appended: str, clip: Path, tmp_path: Path
) -> None:
    made = write_keys(clip, tmp_path / "keys", "--count", 5)
    enlarge(tmp_path / "keys", suffix, appended)
    plan = plan_with(clip, tmp_path / "keys")
    assert plan.scale == 2
    assert find_source(plan) == "frames from keyframes.json (5 pictures)"
    assert list_exact(plan) == [key["frame"] for key in made["key_frames"]]


def test_pictures_may_be_removed_and_others_added(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0,0.5,1,2")
    enlarge(keys)
    (keys / made["key_frames"][1]["file"]).unlink()
    plan = plan_with(clip, keys)
    assert find_source(plan) == "frames from keyframes.json (3 pictures)"
    assert list_exact(plan) == [0, 30, 60]

    (keys / "photo_1.301s.png").write_bytes((keys / made["key_frames"][0]["file"]).read_bytes())
    plan = plan_with(clip, keys)
    assert find_source(plan) == (
        "frames from keyframes.json for 3, times from names like 1.301s for 1 (4 pictures)"
    )
    assert list_exact(plan) == [0, 30, 39, 60]

    (keys / "photo_1.301s.png").rename(keys / "photo.png")
    done = invoke("plan", clip, "--ref-stream", keys)
    assert done.exit_code == 2
    assert "the picture photo in" in done.stderr
    assert "has no time in its name" in done.stderr


def test_two_pictures_of_one_frame_are_refused(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0,1")
    enlarge(keys)
    file = keys / made["key_frames"][0]["file"]
    file.with_name(f"{file.stem}_b.png").write_bytes(file.read_bytes())
    done = invoke("plan", clip, "--ref-stream", keys)
    assert done.exit_code == 2
    assert "lists the same frame for two of the pictures" in done.stderr


def strip(plan: Plan) -> dict[str, Any]:
    """Return the plan without its notes and the paths of its pictures."""
    data = plan.model_dump(mode="json")
    del data["notes"]
    for key in ("path", "files"):
        del data["reference"]["clip"][key]
    return data


def test_times_numbers_and_the_sidecar_give_the_same_plan(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    made = write_keys(clip, keys, "--at", "0.1,0.5,1,1.7,2.4")
    enlarge(keys)
    by_sidecar = plan_with(clip, keys)

    (keys / SIDECAR).unlink()
    by_time = plan_with(clip, keys)
    assert find_source(by_time) == "times from names like 0.100s (5 pictures)"

    numbers = [key["frame"] for key in made["key_frames"]]
    for key in made["key_frames"]:
        (keys / key["file"]).rename(keys / f"frame_{key['frame'] + 1:06d}.png")
    by_number = plan_with(clip, keys)
    assert "frame numbers, from 1 (5 pictures)" in find_source(by_number)

    assert numbers == list_exact(by_sidecar) == list_exact(by_time) == list_exact(by_number)
    assert strip(by_time) == strip(by_sidecar)
    assert strip(by_number) == strip(by_sidecar)


def test_a_sidecar_of_another_recording_is_not_used(clip: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "b.mp4", [f.rgb for f in read_frames(probe(str(clip)))][:70])
    write_keys(clip, tmp_path / "keys", "--at", "0.1,0.5,1")
    enlarge(tmp_path / "keys")
    plan = plan_with(other, tmp_path / "keys")
    assert find_source(plan) == (
        "times from names like 0.100s; keyframes.json was made for another recording and is not "
        "used (3 pictures)"
    )
    assert list_exact(plan) == [3, 15, 30]


def test_pictures_keep_their_names(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(read_frames(probe(str(clip)))):
        if number % 4 == 0:
            cv2.imwrite(str(folder / f"shot {number + 7}.png"), frame.rgb[..., ::-1])
    made = write_keys(folder, tmp_path / "keys", "--count", 3)
    names = [key["file"] for key in made["key_frames"]]
    assert names == [f"shot {4 * key['frame'] + 7}.png" for key in made["key_frames"]]
    enlarge(tmp_path / "keys", ".jpg")
    plan = plan_with(folder, tmp_path / "keys")
    assert find_source(plan) == "frames from keyframes.json (3 pictures)"
    assert list_exact(plan) == [key["frame"] for key in made["key_frames"]]


@pytest.fixture(scope="module")
def enlarged(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two enlarged key frames; tests replace its sidecar."""
    keys = tmp_path_factory.mktemp("enlarged") / "keys"
    write_keys(clip, keys, "--at", "0,1")
    enlarge(keys)
    return keys


HOSTILE = {
    "up": {"file": "../../secret.png"},
    "absolute": {"file": "/etc/passwd"},
    "nul": {"file": "a\0b.png"},
    "empty": {"file": ""},
    "dots": {"file": ".."},
    "long": {"file": "a" * 300},
    "frame": {"frame": 10**400},
    "negative": {"frame": -1},
    "pts": {"pts": 10**30},
    "text": {"pts": "soon"},
    "foreign pts": {"pts": 12345677},
    "more": {"command": "rm"},
}


HOSTILE_FILES = {
    "empty": b"",
    "not JSON": b"\xff\xfe{",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "huge": b" " * 17_000_000,
    "other": b'{"version": 1, "frames": []}',
}

HOSTILE_FIELDS = [
    ("time_base", "1e999999999"),
    ("time_base", "0"),
    ("version", 2),
    ("format", "key\nframes"),
    ("input", "../x"),
    ("fingerprint", "x"),
]


@pytest.fixture(scope="module")
def sidecar(enlarged: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((enlarged / SIDECAR).read_text())
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused_in_one_line(
    name: str, clip: Path, enlarged: Path, sidecar: dict[str, Any]
) -> None:
    first, second = sidecar["key_frames"]
    changed = sidecar | {"key_frames": [first | HOSTILE[name], second]}
    check_refused(clip, enlarged, json.dumps(changed).encode())


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_refused_in_one_line(name: str, clip: Path, enlarged: Path) -> None:
    check_refused(clip, enlarged, HOSTILE_FILES[name])


@pytest.mark.parametrize(("field", "value"), HOSTILE_FIELDS)
def test_a_hostile_field_is_refused_in_one_line(
    field: str, value: object, clip: Path, enlarged: Path, sidecar: dict[str, Any]
) -> None:
    check_refused(clip, enlarged, json.dumps(sidecar | {field: value}).encode())


def check_refused(clip: Path, keys: Path, text: bytes) -> None:
    (keys / SIDECAR).write_bytes(text)
    done = invoke("plan", "-q", clip, "--ref-stream", keys)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert SIDECAR in done.stderr


def test_a_turned_video_has_upright_pictures(clip: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(clip)) as source, av.open(str(turned), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    set_rotation(turned)
    assert probe(str(turned)).rotation == -90
    made = write_keys(turned, tmp_path / "keys", "--at", "0,1")
    picture = cv2.imread(str(tmp_path / "keys" / made["key_frames"][1]["file"]))[..., ::-1]
    stored = list(read_frames(probe(str(turned))))[30].rgb
    assert np.array_equal(picture, np.rot90(stored, -1))
    enlarge(tmp_path / "keys")
    plan = plan_with(turned, tmp_path / "keys")
    assert (plan.scale, list_exact(plan)) == (2, [0, 30])


def set_rotation(file: Path) -> None:
    """Turn the video by a quarter: replace the identity matrix in the track's header."""
    data = bytearray(file.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, signed=True) for value in matrix)
    file.write_bytes(data)


@pytest.mark.parametrize("times", ["0,0.5", "0.5"])
def test_pictures_of_anamorphic_video_show_all_of_it(
    clip: Path, tmp_path: Path, times: str
) -> None:
    wide = tmp_path / "wide.mkv"
    frames = [frame.rgb for frame in read_frames(probe(str(clip)))][:20]
    write_clip(wide, frames, aspect=Fraction(64, 45))
    write_keys(wide, tmp_path / "keys", "--at", times)
    enlarge(tmp_path / "keys")
    plan = plan_with(wide, tmp_path / "keys")
    assert plan.reference.affine is None
    assert not any("proportions" in note for note in plan.notes)

    # without the sidecar, the pixels of pictures are taken for square
    (tmp_path / "keys" / SIDECAR).unlink()
    assert any("proportions" in note for note in plan_with(wide, tmp_path / "keys").notes)


def test_a_confined_recording_has_the_same_plan(clip: Path, tmp_path: Path) -> None:
    write_keys(clip, tmp_path / "keys", "--at", "0,0.5")
    enlarge(tmp_path / "keys")
    plan = plan_with(clip, tmp_path / "keys", sandbox="on")
    assert find_source(plan) == "frames from keyframes.json (2 pictures)"
    assert list_exact(plan) == [0, 15]
