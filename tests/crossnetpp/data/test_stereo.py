"""Stereo: the true flow aligns one picture with the other and is NaN where unknown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from crossnetpp.data.sample import DataError, Pair, turn_pair
from crossnetpp.data.stereo import Stereo, make_flow_pairs, read_disparity, shrink_pair
from tests.support import DATA

STEREO = DATA / "stereo"
SCENE = (
    STEREO / "motorcycle_left.png",
    STEREO / "motorcycle_right.png",
    STEREO / "motorcycle_disp.npz",
)


def measure_alignment(pair: Pair) -> tuple[float, float, float]:
    """Return the mean error without and with the flow, and the share of pixels with known flow."""
    assert pair.flow is not None
    height, width = pair.flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + pair.flow[..., 0], y + pair.flow[..., 1]
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)  # False where it is NaN
    warped = cv2.remap(
        pair.reference, np.nan_to_num(x, nan=-9), np.nan_to_num(y, nan=-9), cv2.INTER_CUBIC
    )
    before, after = (
        float(np.abs(image.astype(int) - pair.target)[inside].mean())
        for image in (pair.reference, warped)
    )
    return before, after, float(np.isfinite(pair.flow[..., 0]).mean())


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.37])
@pytest.mark.parametrize("side", [0, 1])
def test_the_true_flow_aligns_one_picture_with_the_other(factor: float, side: int) -> None:
    pair = Stereo([SCENE], shrink=(factor,)).pairs[0][side]
    before, after, known = measure_alignment(pair)
    assert after < 10
    assert after < 0.2 * before
    assert 0.5 < known < 0.9
    # A tenth less or more is worse, so the disparity is scaled to the shrunk picture
    assert pair.flow is not None
    for wrong in (0.9, 1.1, 1 / factor if factor < 1 else 0.5):
        assert (
            measure_alignment(Pair(pair.target, pair.reference, pair.flow * wrong))[1] > 1.5 * after
        )


def test_pixels_hidden_in_the_reference_have_no_flow() -> None:
    """Compare with a plain loop: no nearer surface is within a pixel of known flow."""
    disparity = read_disparity(SCENE[2])
    left, right = (cv2.imread(str(path)) for path in SCENE[:2])
    flow = make_flow_pairs(left, right, disparity)[0].flow
    assert flow is not None
    hidden = 0
    for row in range(0, disparity.shape[0], 16):
        line = disparity[row]
        for col in np.flatnonzero(np.isfinite(line)):
            apart = np.abs(np.arange(len(line)) - line - (col - line[col]))
            nearest = apart[line > line[col] + 1].min(initial=9)
            inside = col - line[col] >= 0
            hidden += bool(inside and nearest < 1)
            if inside and nearest < 1:
                assert np.isnan(flow[row, col]).all()
            if nearest > 2:
                assert flow[row, col].tolist() == [-line[col], 0]
    assert hidden > 50
    assert np.isnan(flow[np.isnan(disparity)]).all()


def test_a_step_in_depth_hides_as_much_as_it_moves() -> None:
    """Check the hidden pixels of a flat wall behind a flat near bar of 8 pixels."""
    disparity = np.full((3, 60), 4, np.float32)
    disparity[:, 30:38] = 10
    picture = np.zeros((3, 60, 3), np.uint8)
    from_left, from_right = make_flow_pairs(picture, picture, disparity)
    assert from_left.flow is not None
    assert from_right.flow is not None
    # The bar covers 20..27 of the right picture and hides 24..31 of the left picture's wall
    left = from_left.flow[1, :, 0]
    right = from_right.flow[1, :, 0]
    assert np.array_equal(np.flatnonzero(np.isnan(left)), np.arange(24, 30))
    assert (left[30:38] == -10).all()
    assert (right[20:28] == 10).all()
    # Only the right picture shows the wall next to the bar and at the right border
    assert np.array_equal(np.flatnonzero(np.isnan(right)), [*range(28, 34), *range(56, 60)])
    assert (right[:20] == 4).all()


def test_drawn_windows_keep_their_flow_in_every_position() -> None:
    source = Stereo([SCENE], shrink=(0.5,))
    rng = np.random.default_rng(0)
    directions = set()
    for _ in range(24):
        pair = source.draw(rng, 64, 1.0)
        assert pair.target.shape == pair.reference.shape == (64, 64, 3)
        assert pair.flow is not None
        assert pair.flow.shape == (64, 64, 2)
        before, after, known = measure_alignment(pair)
        if known > 0.5:
            assert after < 0.5 * before
        mean = np.nanmean(pair.flow, axis=(0, 1))
        directions.add((int(np.abs(mean).argmax()), bool(mean.sum() > 0)))
    assert len(directions) == 4


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_turning_a_pair_turns_its_flow(quarters: int, mirror: bool) -> None:
    """The flow at a spot of the target still points to the matching spot of the reference."""
    target, reference = np.zeros((2, 32, 32, 3), np.uint8)
    target[12, 9] = 255
    reference[20, 14] = 255
    flow = np.full((32, 32, 2), np.nan, np.float32)
    flow[12, 9] = (5, 8)
    turned = turn_pair(Pair(target, reference, flow), quarters, mirror=mirror)
    assert turned.flow is not None
    row, col = np.argwhere(turned.target[..., 0])[0]
    dx, dy = turned.flow[row, col].astype(int)
    assert np.argwhere(turned.reference[..., 0]).tolist() == [[row + dy, col + dx]]
    assert np.isfinite(turned.flow[..., 0]).sum() == 1


def test_disparity_is_read_from_arrays_and_pictures(tmp_path: Path) -> None:
    disparity = read_disparity(SCENE[2])
    assert np.isfinite(disparity).mean() == pytest.approx(0.886, abs=1e-3)
    np.save(tmp_path / "true.npy", disparity)
    cv2.imwrite(str(tmp_path / "true.pfm"), np.nan_to_num(disparity, nan=np.inf))
    whole = np.nan_to_num(disparity).round().astype(np.uint8)  # 0 = unknown, as in aloeGT.png
    cv2.imwrite(str(tmp_path / "true.png"), whole)
    for name in ("true.npy", "true.pfm"):
        np.testing.assert_array_equal(read_disparity(tmp_path / name), disparity)
    np.testing.assert_array_equal(
        read_disparity(tmp_path / "true.png"), np.where(whole > 0, whole, np.nan)
    )


def test_shrinking_scales_the_flow_to_new_pixels() -> None:
    flow = np.tile(np.array((-12, 6), np.float32), (40, 100, 1))
    pair = Pair(np.zeros((40, 100, 3), np.uint8), np.zeros((40, 100, 3), np.uint8), flow)
    small = shrink_pair(pair, 0.37)
    assert small.target.shape == (15, 37, 3)
    assert small.flow is not None
    assert small.flow.shape == (15, 37, 2)
    np.testing.assert_allclose(small.flow[0, 0], (-12 * 37 / 100, 6 * 15 / 40), rtol=1e-6)


def test_unreadable_files_are_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no array")
    cv2.imwrite(str(tmp_path / "small.png"), np.ones((4, 4), np.uint8))
    left, right, _ = SCENE
    for disparity, message in (
        (left, "expected a disparity for each pixel"),
        (tmp_path / "absent.npz", "no readable disparity"),
        (tmp_path / "text.npz", "no readable disparity"),
        (tmp_path / "small.png", "expected equal sizes"),
    ):
        with pytest.raises(DataError, match=message) as error:
            Stereo([(left, right, disparity)])
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no stereo scene"):
        Stereo([])
