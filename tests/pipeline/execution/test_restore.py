"""LR frames that are restored at the instants of key frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossnetpp.data.sample import read_rgb
from crossnetpp.networks.taps import make_box_taps
from pipeline.execution.restore import restore_frame
from pipeline.pixels import Pixels, as_pixels
from pipeline.planning.plan import make_plan
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade
from tests.support import ROOT

SCALE = 4
FITS_DB = 34.0
RMS = 255 * 10 ** (-FITS_DB / 20)
SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"


@pytest.fixture(scope="module")
def key() -> Pixels:
    return as_pixels(
        np.ascontiguousarray(read_rgb(ROOT / "tests/data/kodak_21.jpg")[200:456, 100:356])
    )


def average(frame: Pixels) -> np.ndarray:
    """Return the means over SCALE x SCALE pixels, float64, computed independently of the code."""
    rows, columns = frame.shape[0] // SCALE, frame.shape[1] // SCALE
    return frame.reshape(rows, SCALE, columns, SCALE, 3).astype(np.float64).mean(axis=(1, 3))


def compress(frame: Pixels) -> Pixels:
    """Return the frame with noise as strong as a codec's errors."""
    noise = np.random.default_rng(0).normal(0, RMS, frame.shape)
    return as_pixels(np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8))


def test_a_compressed_frame_becomes_the_downscaled_key_frame(key: Pixels) -> None:
    expected = average(key)
    lr = compress(as_pixels(np.rint(expected).astype(np.uint8)))
    restored = restore_frame(lr, key, make_box_taps(SCALE), FITS_DB)
    assert restored.dtype == np.uint8
    assert np.abs(restored - expected).max() <= 1
    assert np.abs(lr - expected).max() > 10


def test_frames_of_16_bits_keep_their_precision(key: Pixels) -> None:
    expected = average(key) * 257
    wide = as_pixels(key.astype(np.uint16) * np.uint16(257))
    lr = as_pixels(np.rint(0.995 * expected).astype(np.uint16))
    restored = restore_frame(lr, wide, make_box_taps(SCALE), FITS_DB)
    assert restored.dtype == np.uint16
    assert np.abs(restored - expected).max() <= 1


def test_a_part_in_which_the_key_frame_differs_is_kept(key: Pixels) -> None:
    lr = as_pixels(np.rint(average(key)).astype(np.uint8))
    lr = compress(lr)
    other = key.copy()
    other[112:144, 112:144] = np.clip(other[112:144, 112:144].astype(int) + 60, 0, 255)
    restored = restore_frame(lr, other, make_box_taps(SCALE), FITS_DB)
    inside = np.s_[28:36, 28:36]  # LR pixels
    assert np.array_equal(restored[inside], lr[inside])
    assert np.abs(restored[:, :16] - average(key)[:, :16]).max() <= 1


def test_a_picture_of_something_else_changes_nothing(key: Pixels) -> None:
    lr = as_pixels(np.rint(average(key)).astype(np.uint8))
    other = as_pixels(np.ascontiguousarray(key[::-1, ::-1]))
    restored = restore_frame(lr, other, make_box_taps(SCALE), FITS_DB)
    assert np.array_equal(restored, lr)


@pytest.mark.parametrize(
    ("codec", "options", "restores"),
    [
        ("libx264", {}, True),
        ("libx264", {"engine": "bicubic"}, False),
        ("libx264", {"trust_reference": True}, False),
        ("libx264", {"capture": "bicubic"}, False),
        ("ffv1", {}, False),
    ],
)
def test_only_a_compressed_input_is_restored(
    codec: str, options: dict[str, object], restores: bool, tmp_path: Path
) -> None:
    lr = tmp_path / "lr.mkv"
    compressed: dict[str, object] = {"crf": 30, "pix_fmt": "yuv420p"} if codec == "libx264" else {}
    degrade(str(SAMPLE), lr, scale=SCALE, codec=codec, **compressed)
    values = {"input": str(lr), "ref_stream": str(SAMPLE), "output": str(tmp_path / "out.mkv")}
    plan = make_plan(RunSettings.model_validate(values | options))
    assert (plan.restores_from_db is not None) is restores
    if restores:
        assert plan.restores_from_db is not None
        assert 25 < plan.restores_from_db < 46
