"""One dense linear system of a variational step, and pictures to test steps with."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from crossnetpp.networks.variational import GRADIENT_FLOOR, PENALTY_FLOOR, TermWeights


def make_texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return 1 x 1 x H x W smooth noise in 0..1."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 1.5)
    image = (image - image.min()) / (image.max() - image.min())
    return torch.from_numpy(image)[None, None]


def make_even_weights(like: Tensor) -> TermWeights:
    return TermWeights(torch.ones_like(like), torch.ones_like(like), torch.ones_like(like))


def differentiate(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padded = np.pad(image, 1, mode="edge")
    return (
        (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2,
        (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2,
    )


def solve_densely(target: np.ndarray, warped: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the increment from one dense system over all pixels, assembled term by term."""
    height, width = target.shape
    mean = (target + warped) / 2
    difference = warped - target
    x, y = differentiate(mean)
    (xx, xy), (_, yy) = differentiate(x), differentiate(y)
    xt, yt = differentiate(difference)
    matrix = np.zeros((2 * height * width, 2 * height * width))
    right = np.zeros(2 * height * width)
    slope = np.zeros((height, width))
    for channel in flow:
        slope[:, :-1] += (channel[:, 1:] - channel[:, :-1]) ** 2
        slope[:-1] += (channel[1:] - channel[:-1]) ** 2
    smoothness = 20 / np.sqrt(slope + PENALTY_FLOOR)

    for row in range(height):
        for col in range(width):
            at = row, col
            here = 2 * (row * width + col)
            brightness = [(x[at], y[at], difference[at])]
            both = [(xx[at], xy[at], xt[at]), (xy[at], yy[at], yt[at])]
            for lines, weight in ((brightness, 5), (both, 10)):
                scaled = [np.array(line) / np.sqrt(line[0] ** 2 + line[1] ** 2 + GRADIENT_FLOOR)
                          for line in lines]  # fmt: skip
                weight /= np.sqrt(sum(line[2] ** 2 for line in scaled) + PENALTY_FLOOR)
                for u, v, constant in scaled:
                    matrix[here, here] += weight * u * u
                    matrix[here, here + 1] += weight * u * v
                    matrix[here + 1, here] += weight * u * v
                    matrix[here + 1, here + 1] += weight * v * v
                    right[here] -= weight * u * constant
                    right[here + 1] -= weight * v * constant
            for channel in (0, 1):
                matrix[here + channel, here + channel] += GRADIENT_FLOOR
                for down, across in ((0, 1), (1, 0)):
                    other = row + down, col + across
                    if other[0] == height or other[1] == width:
                        continue
                    there = 2 * (other[0] * width + other[1])
                    pull = smoothness[at] * (flow[channel][other] - flow[channel][at])
                    for one, two, sign in ((here, there, 1), (there, here, -1)):
                        matrix[one + channel, one + channel] += smoothness[at]
                        matrix[one + channel, two + channel] -= smoothness[at]
                        right[one + channel] += sign * pull
    solution: np.ndarray = np.linalg.solve(matrix, right)
    return solution.reshape(height, width, 2).transpose(2, 0, 1)
