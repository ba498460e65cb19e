"""The paper's fusion decoder: U-Net-like, from scale 3 up, then post-fusion (notes 3.3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossnetpp.networks.encoder import activation
from crossnetpp.networks.presets import Activation


class Decoder(nn.Module):
    """Fuse LR features with aligned reference features into the image."""

    def __init__(self, name: Activation = "relu") -> None:
        super().__init__()

        def deconv(inputs: int) -> nn.Sequential:
            layer = nn.ConvTranspose2d(inputs, 64, 4, stride=2, padding=1)
            return nn.Sequential(layer, activation(name))

        self.deconv3, self.deconv2, self.deconv1 = deconv(128), deconv(192), deconv(192)
        self.fuse1 = nn.Sequential(nn.Conv2d(192, 64, 5, padding=2), activation(name))
        self.fuse2 = nn.Sequential(nn.Conv2d(64, 64, 5, padding=2), activation(name))
        # linear: the notes write an activation here, the published network has none
        self.output = nn.Conv2d(64, 3, 5, padding=2)

    def forward(self, lr: Sequence[Tensor], ref: Sequence[Tensor]) -> Tensor:
        """Return the image N x 3 x H x W from features F0..F3 of LR_up and of the aligned REF."""
        # 3.3.3, F_D^3 = s(W_D^3 *2 (F_LR^3, F^_REF^3))
        d3 = self.deconv3(torch.cat((lr[3], ref[3]), dim=1))
        # 3.3.3, F_D^i = s(W_D^i *2 (F_LR^i, F^_REF^i, F_D^(i+1))), i = 2, 1
        d2 = self.deconv2(torch.cat((d3, lr[2], ref[2]), dim=1))
        d1 = self.deconv1(torch.cat((d2, lr[1], ref[1]), dim=1))
        # 3.3.3, F_1 = s(W_1 *1 (F_LR^0, F^_REF^0, F_D^1)), F_2 = s(W_2 *1 F_1), I_p = W_p *1 F_2
        image: Tensor = self.output(self.fuse2(self.fuse1(torch.cat((d1, lr[0], ref[0]), dim=1))))
        return image
