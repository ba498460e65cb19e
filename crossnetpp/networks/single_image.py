"""A small single-image network for the paper's LR_up = SISR(LR), designed for this project."""

from __future__ import annotations

from torch import Tensor, nn

from crossnetpp.networks.layers import SLOPE
from crossnetpp.networks.resample import upsample_bicubic

WIDTH = 48
BLOCKS = 5


class _ResidualBlock(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.body(features)
        return out


class SingleImage(nn.Module):
    """An upsampler that needs no reference, for x2, x4 and x8.

    A stage that doubles the size of the features is applied once, twice or three times, so all
    scales share the 335,187 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(_ResidualBlock() for _ in range(BLOCKS)))
        self.twice = nn.Sequential(
            nn.Conv2d(WIDTH, 4 * WIDTH, 3, padding=1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(SLOPE, inplace=True),
            _ResidualBlock(),
        )
        self.leave = nn.Conv2d(WIDTH, 3, 3, padding=1)
        # A zero residual makes the untrained network bicubic
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Return `lr` (N x 3 x h x w in 0..1) upsampled by a factor of `scale`, without clamping.

        Raises ValueError if the scale is not 2, 4 or 8.
        """
        if scale not in (2, 4, 8):
            raise ValueError(f"found the scale {scale}, expected 2, 4 or 8")
        features = self.blocks(self.enter(lr - 0.5))
        for _ in range(scale.bit_length() - 1):
            features = self.twice(features)
        out: Tensor = upsample_bicubic(lr, scale) + self.leave(features)
        return out
