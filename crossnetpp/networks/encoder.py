"""The paper's image encoder: five 5x5 convolutions of 64 filters, four scales (notes 3.3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from crossnetpp.networks.presets import Activation


def activation(name: Activation) -> nn.Module:
    """Return the activation the paper (`relu`) or its published code (`selu`) uses."""
    return nn.ReLU(inplace=True) if name == "relu" else nn.SELU(inplace=True)


class Encoder(nn.Module):
    """Make features F0..F3 of LR_up or of the reference; CrossNet++ shares one instance."""

    def __init__(self, name: Activation = "relu") -> None:
        super().__init__()

        def conv(inputs: int, stride: int) -> nn.Sequential:
            layer = nn.Conv2d(inputs, 64, 5, stride=stride, padding=2)
            return nn.Sequential(layer, activation(name))

        self.scale0 = nn.Sequential(conv(3, 1), conv(64, 1))
        self.scale1, self.scale2, self.scale3 = conv(64, 2), conv(64, 2), conv(64, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return F0..F3 (N x 64 x H/2^i x W/2^i) of an N x 3 x H x W image in 0..1."""
        # 3.3.2, F^0 = s(W^0 *1 I); two layers, as the text says
        f0 = self.scale0(image)
        # 3.3.2, F^i = s(W^i *2 F^(i-1)), i = 1, 2, 3
        f1 = self.scale1(f0)
        f2 = self.scale2(f1)
        return f0, f1, f2, self.scale3(f2)
