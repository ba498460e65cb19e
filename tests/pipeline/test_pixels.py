"""Conversions between 8 and 16-bit frames."""

from __future__ import annotations

import numpy as np

from pipeline.pixels import high_byte, match_deeper, match_depth, to_8_bit, to_16_bit

LEVELS = np.arange(256, dtype=np.uint8)
DEEP_LEVELS = np.arange(65536, dtype=np.uint16)


def test_every_8_bit_level_survives_the_way_to_16_bits_and_back() -> None:
    deep = to_16_bit(LEVELS)
    assert deep[0] == 0
    assert deep[255] == 65535
    assert np.array_equal(to_8_bit(deep), LEVELS)
    assert np.array_equal(high_byte(deep), LEVELS)


def test_16_bit_levels_are_rounded_to_the_nearest_8_bit_level() -> None:
    expected = np.rint(DEEP_LEVELS / 257)
    assert np.array_equal(to_8_bit(DEEP_LEVELS), expected)


def test_the_high_byte_is_cut_off_as_plans_expect() -> None:
    assert np.array_equal(high_byte(DEEP_LEVELS), DEEP_LEVELS // 256)


def test_pixels_of_the_same_depth_are_not_copied() -> None:
    for pixels in (LEVELS, DEEP_LEVELS):
        assert match_depth(pixels, pixels) is pixels
    assert to_8_bit(LEVELS) is LEVELS
    assert high_byte(LEVELS) is LEVELS


def test_the_deeper_depth_has_the_same_share_of_full_scale() -> None:
    # 65535 / 255 = 257 = 0x0101: the byte stands in both halves
    repeated = np.frombuffer(LEVELS.repeat(2).tobytes(), np.uint16)
    deep = DEEP_LEVELS[::-1]
    for first, second in (match_deeper(LEVELS, deep), match_deeper(deep, LEVELS)[::-1]):
        np.testing.assert_array_equal(first, repeated)
        np.testing.assert_array_equal(first / 65535, LEVELS / 255)
        np.testing.assert_array_equal(second, deep)
    shallow = match_deeper(LEVELS, LEVELS[::-1])
    np.testing.assert_array_equal(shallow, (np.arange(256), np.arange(255, -1, -1)))


def test_two_pictures_meet_in_the_deeper_depth() -> None:
    for first, second in ((LEVELS, DEEP_LEVELS), (DEEP_LEVELS, LEVELS)):
        assert [pixels.dtype for pixels in match_deeper(first, second)] == [np.uint16, np.uint16]
    assert [pixels.dtype for pixels in match_deeper(LEVELS, LEVELS)] == [np.uint8, np.uint8]
