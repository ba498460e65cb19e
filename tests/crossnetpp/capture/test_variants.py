"""The choice between the shipped weights."""

from __future__ import annotations

from dataclasses import asdict

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.capture.estimate import CaptureEstimate, estimate_capture
from crossnetpp.capture.kernels import measure_width
from crossnetpp.capture.variants import RECORDED, choose_weights, refuse_wide_kernel
from crossnetpp.checkpoint import find_weights, load_network, read_description
from crossnetpp.data.recorder import CAPTURES, record_clip
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.taps import join_taps, make_bicubic_taps, make_box_taps
from tests.support.camera import read_clip


@pytest.mark.parametrize(
    ("fits_db", "expected"),
    [(51.3, "fast"), (46.0, "fast"), (45.9, "fast-recorded"), (32.7, "fast-recorded")],
)
def test_compressed_recordings_get_their_own_weights(fits_db: float, expected: str) -> None:
    assert choose_weights("fast", fits_db) == expected


def test_the_usual_weights_stay_where_nothing_was_measured() -> None:
    assert choose_weights("fast", None) == "fast"


def test_weights_that_the_user_names_stay() -> None:
    for model in ("paper", "mine.safetensors", "fast-recorded"):
        assert choose_weights(model, 30.0) == model


def test_all_variants_are_shipped() -> None:
    for model, variant in RECORDED.items():
        assert find_weights(variant).parent == find_weights(model).parent
        network = load_network(variant)
        assert isinstance(network, CrossNetFast)
        assert network.config.votes
        assert network.config.chroma
        assert read_description(find_weights(variant)) == ("fast", asdict(network.config))


def test_kernels_that_undo_sharpening_behind_a_codec_are_refused() -> None:
    frames = read_clip(46, 320, 448)
    recorded = record_clip(frames, 4, CAPTURES["recorded"])
    keys = recorded.keys.items()
    true = estimate_capture([(recorded.lr[n], key) for n, key in keys], 4)
    assert true.taps is not None
    assert refuse_wide_kernel(true) is true

    sharpened = {n: sharpen(key) for n, key in keys}
    wide = estimate_capture([(recorded.lr[n], key) for n, key in sharpened.items()], 4)
    refused = refuse_wide_kernel(wide)
    assert refused.taps is None
    assert refused.reason
    assert choose_weights("fast", refused.fits_db) == "fast-recorded"


@pytest.mark.parametrize(
    ("width", "fits_db", "refused"),
    [(1.9, 38.6, True), (1.5, 38.6, False), (1.9, 47.0, False), (1.9, 34.5, False)],
)
def test_only_wide_kernels_of_lightly_compressed_input_are_refused(
    width: float, fits_db: float, refused: bool
) -> None:
    found = CaptureEstimate(
        4, make_box_taps(4), "box", (0.1, 0.0), width, fits_db, fits_db - 1, (0,), {}, ""
    )
    kept = refuse_wide_kernel(found)
    assert (kept.taps is None) == refused
    if refused:
        assert kept.width == measure_width(join_taps(make_bicubic_taps(4)))
        assert kept.shift == (0.0, 0.0)
        assert kept.fits_db == fits_db


def sharpen(key: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with an unsharp mask of sigma 1.5 pixels."""
    soft = cv2.GaussianBlur(key, (0, 0), 1.5).astype(np.float32)
    return np.asarray(np.clip(key + 1.5 * (key - soft), 0, 255).round(), np.uint8)
