"""Run just the network on two pictures from a stereo rig, first as arrays, then as tensors."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

import crossnetpp
from crossnetpp.data.degradation import degrade
from crossnetpp.metrics import psnr

RIG = Path(__file__).parents[1] / "tests" / "data" / "stereo"

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output/03")
folder.mkdir(parents=True, exist_ok=True)

left, right = (
    cv2.cvtColor(cv2.imread(str(RIG / f"motorcycle_{side}.png")), cv2.COLOR_BGR2RGB)
    for side in ("left", "right")
)
lr = degrade(left, 4)  # the left picture at low resolution, uint8 48 x 64 x 3

network = crossnetpp.load("fast")
sr = network(lr, right)

# The same with tensors, N x 3 x H x W in 0..1
planes = [torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for p in (lr, right)]
sr_planes = network(*planes)[0]
assert torch.equal((sr_planes * 255).round().permute(1, 2, 0).byte(), torch.from_numpy(sr))

plain = cv2.resize(lr, left.shape[1::-1], interpolation=cv2.INTER_CUBIC)
for name, picture in (("bicubic", plain), ("with the right camera", sr)):
    print(f"{name}: {psnr(picture / np.float32(255), left / np.float32(255)):.2f} dB")

sheet = np.concatenate((plain, sr, left), axis=1)
cv2.imwrite(str(folder / "compare.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
print(f"look at {folder / 'compare.png'}: bicubic, result, original")
