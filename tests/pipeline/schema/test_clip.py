"""Recordings as JSON: one set of keys for all kinds."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from pipeline.schema.clip import (
    KEYS,
    Grid,
    LightField,
    Recording,
    RecordingBase,
    Stills,
    StreamInfo,
    VideoClip,
    View,
    parse_recording,
)

# The keys of a file in their order, with the values of fields that are not set.
DEFAULTS = {
    "kind": None,
    "path": None,
    "files": [],
    "times": [],
    "container": "",
    "stream_index": 0,
    "codec": None,
    "pix_fmt": None,
    "alpha": False,
    "bit_depth": None,
    "width": None,
    "height": None,
    "rotation": 0,
    "sample_aspect_ratio": "1",
    "time_base": None,
    "frame_rate": None,
    "duration_pts": None,
    "colour": {
        "matrix": 2,
        "range": 0,
        "primaries": 2,
        "transfer": 2,
        "used_matrix": "bt709",
        "used_range": "limited",
        "guessed": False,
    },
    "hdr": None,
    "interlaced": False,
    "deinterlace": "off",
    "sandbox": False,
    "other_streams": [],
    "chapters": 0,
    "size_bytes": None,
    "fingerprint": None,
    "grid": None,
    "url": "",
}
COMMON: dict[str, Any] = {
    "path": "/data/in",
    "codec": "h264",
    "pix_fmt": "yuv420p",
    "bit_depth": 8,
    "width": 64,
    "height": 48,
    "time_base": Fraction(1, 25),
    "size_bytes": 9,
    "fingerprint": "f",
}
CAMERA = VideoClip(**COMMON | {"path": "/data/in/cam.mp4"})
RECORDINGS = [
    VideoClip(
        **COMMON,
        container="mov",
        interlaced=True,
        deinterlace="flagged",
        chapters=2,
        other_streams=(StreamInfo(index=1, type="audio", codec="aac"),),
    ),
    Stills(**COMMON, files=("/data/in/a.png",), times=(1.5,)),
    LightField(
        **COMMON,
        files=("/data/in/cam.mp4", "/data/in/v.png"),
        grid=Grid(
            layout="video",
            views=(
                View(row=0, col=0, clip=CAMERA),
                View(row=0, col=1, files=("/data/in/v.png", "/data/input.png")),
            ),
            sheets=Stills(**COMMON, files=("/data/in/a.png",)),
        ),
    ),
]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.kind)
def test_every_kind_is_written_with_the_same_keys_in_the_same_order(recording: Recording) -> None:
    dumped = json.loads(recording.model_dump_json())
    assert list(dumped) == list(DEFAULTS)
    own = {name for name in type(recording).model_fields if name != "kind"}
    for key, value in DEFAULTS.items():
        if key != "kind" and key not in own:
            assert dumped[key] == value
    assert recording.model_dump(mode="json") == dumped
    assert "sandbox" not in json.loads(recording.model_dump_json(exclude={"sandbox": True}))


def test_the_keys_of_a_file_are_the_fields_of_all_kinds() -> None:
    fields = {name for kind in (VideoClip, Stills, LightField) for name in kind.model_fields}
    assert fields == set(KEYS)
    assert len(KEYS) == len(fields)


def test_a_field_without_a_key_is_not_dropped() -> None:
    class Panorama(VideoClip):
        degrees: int = 360

    with pytest.raises(PydanticSerializationError, match="not in tuple"):
        Panorama(**COMMON).model_dump_json()


def test_values_that_are_not_set_are_those_of_old_files() -> None:
    dumped = json.loads(VideoClip(**COMMON).model_dump_json())
    set_here = {*COMMON, "kind"}
    assert {k: v for k, v in dumped.items() if k not in set_here} == {
        k: v for k, v in DEFAULTS.items() if k not in set_here
    }


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.kind)
def test_what_was_written_is_read_back(recording: Recording) -> None:
    assert parse_recording(json.loads(recording.model_dump_json())) == recording
    assert parse_recording(recording.model_dump()) == recording


def test_keys_of_another_kind_are_refused_when_they_are_set() -> None:
    dumped = json.loads(RECORDINGS[1].model_dump_json())
    for key, value in (("chapters", 3), ("grid", {}), ("deinterlace", "all"), ("grit", None)):
        with pytest.raises(ValidationError, match=key):
            parse_recording({**dumped, key: value})
    with pytest.raises(ValidationError, match="kind"):
        parse_recording({**dumped, "kind": "film"})


def test_files_inside_a_moved_recording_move_and_others_stay() -> None:
    moved = RECORDINGS[2].with_path("/cache/new")
    assert list(moved.list_paths()) == [
        "/cache/new",
        "/cache/new/cam.mp4",
        "/cache/new/v.png",
        "/cache/new/cam.mp4",
        "/cache/new/v.png",
        "/data/input.png",
        "/cache/new",
        "/cache/new/a.png",
    ]
    assert moved.with_path("/data/in") == RECORDINGS[2]


def test_the_sandbox_reaches_cameras_and_sheets() -> None:
    def inside(recording: LightField) -> list[RecordingBase]:
        grid = recording.grid
        cameras = [view.clip for view in grid.views if view.clip is not None]
        return [recording, *cameras, grid.sheet_clip]

    guarded = RECORDINGS[2].with_sandbox(True)
    assert all(part.sandbox for part in inside(guarded))
    assert guarded.with_sandbox(False) == RECORDINGS[2]


def test_only_pictures_can_be_without_times() -> None:
    assert [recording.has_times for recording in RECORDINGS] == [True, True, True]
    assert not Stills(**COMMON, files=("/data/in/a.png",)).has_times
