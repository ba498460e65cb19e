"""Maps that bring turned, stretched and differently shaped references to the input's grid."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.pairing.fit import prepare_reference
from pipeline.pairing.geometry import (
    count_quarter_turns,
    has_same_aspect,
    make_inscribed_map,
    make_scaling_map,
    swap_size,
    turn_map,
    turn_picture,
)
from pipeline.schema.clip import VideoClip
from tests.support.recordings import texture


def clip(width: int, height: int, **changes: Any) -> VideoClip:
    return VideoClip(
        path="x",
        codec="h264",
        pix_fmt="yuv420p",
        bit_depth=8,
        width=width,
        height=height,
        time_base=Fraction(1, 25),
        size_bytes=1,
        fingerprint="x",
        **changes,
    )


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_reference_is_read_through_the_map_bit_for_bit(turns: int) -> None:
    upright = cv2.GaussianBlur(texture(3, 96, 128), (0, 0), 2)
    stored = turn_picture(upright, -turns % 4)
    ref = clip(stored.shape[1], stored.shape[0])
    affine = turn_map(make_scaling_map((96, 128), swap_size(ref, turns)), ref, turns)
    lr = cv2.resize(upright, (64, 48), interpolation=cv2.INTER_AREA)
    got = prepare_reference(stored, lr, 96, 128, affine=affine, match_colour=False)
    assert np.array_equal(got, upright)


def test_quarter_turns_are_the_difference_of_the_rotations() -> None:
    # FFmpeg: a clip marked -90 is shown turned clockwise; upright stills must be turned back
    assert count_quarter_turns(clip(64, 48, rotation=-90), clip(96, 128)) == 1
    assert count_quarter_turns(clip(64, 48), clip(96, 128, rotation=-90)) == 3
    assert count_quarter_turns(clip(64, 48, rotation=180), clip(128, 96, rotation=-180)) == 0


def test_aspects_are_compared_as_shown() -> None:
    assert has_same_aspect(clip(64, 36), clip(256, 144), 0)
    assert not has_same_aspect(clip(64, 36), clip(256, 192), 0)
    # 720 x 576 stored, shown as 16:9
    assert has_same_aspect(
        clip(720, 576, sample_aspect_ratio=Fraction(64, 45)), clip(1920, 1080), 0
    )
    assert has_same_aspect(clip(64, 36, rotation=-90), clip(144, 256), 1)


def test_a_wide_input_is_found_in_the_middle_of_a_tall_reference() -> None:
    photo = cv2.GaussianBlur(texture(3, 192, 256), (0, 0), 2)
    lr = clip(64, 36)
    affine = make_inscribed_map(lr, clip(256, 192), 0, (72, 128))
    shown = cv2.resize(photo[24:168], (128, 72), interpolation=cv2.INTER_AREA)
    small = cv2.resize(shown, (64, 36), interpolation=cv2.INTER_AREA)
    got = prepare_reference(photo, small, 72, 128, affine=affine, match_colour=False)
    assert np.abs(got.astype(int) - shown).mean() < 1
