"""The learned single-image upsampler: bicubic at first, better after a little training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crossnetpp.data.degradation import degrade_tensor
from crossnetpp.data.sample import read_rgb
from crossnetpp.networks.resample import upsample_bicubic
from crossnetpp.networks.single_image import SingleImage
from tests.support import DATA


def load_photograph(size: int) -> Tensor:
    """Return the centre of a real photograph, 1 x 3 x size x size in 0..1."""
    image = read_rgb(DATA / "kodak_21.jpg")
    rows, columns = ((length - size) // 2 for length in image.shape[:2])
    window = image[rows : rows + size, columns : columns + size]
    return torch.from_numpy(window.copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_untrained_upsampler_is_bicubic(scale: int) -> None:
    upsampler = SingleImage()
    assert sum(p.numel() for p in upsampler.parameters()) == 335_187
    lr = load_photograph(32)
    with torch.inference_mode():
        assert torch.equal(upsampler(lr, scale), upsample_bicubic(lr, scale))


def test_the_upsampler_refuses_other_scales() -> None:
    with pytest.raises(ValueError, match="found the scale 3, expected 2, 4 or 8"):
        SingleImage()(load_photograph(16), 3)


def test_a_little_training_beats_bicubic_at_every_scale() -> None:
    torch.manual_seed(0)
    upsampler = SingleImage()
    target = load_photograph(64)
    small = {scale: degrade_tensor(target, scale) for scale in (2, 4, 8)}
    optimiser = torch.optim.Adam(upsampler.parameters(), lr=2e-3)
    for _ in range(20):
        errors = [(upsampler(lr, scale) - target).abs().mean() for scale, lr in small.items()]
        optimiser.zero_grad()
        sum(errors).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        for scale, lr in small.items():
            left = (upsampler(lr, scale) - target).square().mean()
            assert left < (upsample_bicubic(lr, scale) - target).square().mean()
