"""The key frames that names of pictures belong to."""

from __future__ import annotations

import pytest

from pipeline.media.pictures.key_frames import KeyFrame, KeyFrames

FILES = ("shot 1.png", "shot 1_b.png", "1.png", ".png", "a-.png")


@pytest.fixture
def stored() -> KeyFrames:
    return KeyFrames(
        input="in.mp4",
        size_bytes=1,
        fingerprint="0" * 64,
        time_base="1/25",
        key_frames=tuple(KeyFrame(file=file, frame=n, pts=n) for n, file in enumerate(FILES)),
    )


@pytest.mark.parametrize(
    ("stem", "file"),
    [
        ("shot 1", "shot 1.png"),
        ("shot 1_x4", "shot 1.png"),
        ("shot 1_b", "shot 1_b.png"),
        ("shot 1_b x4.0", "shot 1_b.png"),  # the longest name counts
        ("shot 1_bx4", "shot 1.png"),
        ("shot 10", None),
        ("shot", None),
        ("1 x4", "1.png"),
        ("1x4", None),
        (".png_x4", ".png"),
        ("a-", "a-.png"),
        ("a--", "a-.png"),
        ("a-b", None),
        ("", None),
    ],
)
def test_programs_may_append_to_a_name(stem: str, file: str | None, stored: KeyFrames) -> None:
    found = stored.find_key(stem)
    assert (found and found.file) == file


def test_the_stored_text_holds_the_fields_only(stored: KeyFrames) -> None:
    assert KeyFrames.model_validate_json(stored.model_dump_json()) == stored
