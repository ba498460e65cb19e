"""The reduction of a plane by a kernel, against the network's own and a plain double loop."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.capture.moments import reduce_plane
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import (
    Taps,
    join_taps,
    make_bicubic_taps,
    make_box_taps,
    separate_kernel,
)
from tests.support import DATA


def make_random_taps(scale: int) -> Taps:
    kernel = np.random.default_rng(1).normal(0.05, 0.1, (4 * scale, 4 * scale))
    return separate_kernel(kernel / kernel.sum())


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("make_taps", [make_bicubic_taps, make_box_taps, make_random_taps])
def test_planes_are_reduced_as_the_network_does(
    scale: int, make_taps: Callable[[int], Taps]
) -> None:
    taps = make_taps(scale)
    plane = cv2.imread(str(DATA / "kodak_21.jpg"), cv2.IMREAD_GRAYSCALE)
    plane = np.asarray(plane[100:228, :128], np.float32)
    image = torch.from_numpy(plane)[None, None]
    expected = reduce_antialiased(image, scale, torch.from_numpy(taps))[0, 0].numpy()
    inner = np.s_[2:-2, 2:-2]  # The border is repeated here, and renormalised there
    got = reduce_plane(plane, join_taps(taps))
    np.testing.assert_allclose(got[inner], expected[inner], atol=0.01)


def test_any_kernel_and_size_give_the_sum_of_all_taps() -> None:
    rng = np.random.default_rng(2)
    scale = 2
    plane = rng.random((9, 11)).astype(np.float32)
    kernel = rng.normal(0, 0.2, (4 * scale, 4 * scale))  # needs all eight terms
    got = reduce_plane(plane, kernel)
    assert got.shape == (4, 5)

    for row in range(4):
        for column in range(5):
            rows = np.clip(scale * row + np.arange(8) - 3, 0, 8)
            columns = np.clip(scale * column + np.arange(8) - 3, 0, 10)
            expected = (kernel * plane[np.ix_(rows, columns)]).sum()
            assert got[row, column] == pytest.approx(expected, abs=1e-5)
