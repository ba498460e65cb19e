"""Local correlation: how similar each pixel of a feature map is to nearby pixels of another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.networks.kernels import is_traced

COSINE_GAIN = 9.0  # scales cosines in -1..1 to the magnitude of other activations

# Number of adjacent pixels in a row that share a matrix product. The product computes more pairs
# than necessary, but is faster than a loop over shifts, which memory bandwidth limits.
BLOCK = 8


def normalise_features(features: Tensor) -> Tensor:
    """Return `features` (N x C x H x W) scaled so that dot products along C are cosines."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-6)


def correlate_features(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """Return the similarity of every pixel of `left` to the pixels of `right` within `radius`.

    Both inputs are normalised features (N x C x H x W); the result is N x (2 radius + 1)^2 x H x W.
    Channel (dy + radius)(2 radius + 1) + dx + radius is the cosine between left(y, x) and
    right(y + dy, x + dx), times COSINE_GAIN, or zero where (y + dy, x + dx) is outside the map.
    """
    if is_traced():
        return correlate_for_export(left, right, radius)
    if torch.is_grad_enabled() or 2 * radius > BLOCK:
        return _correlate_copied_windows(left, right, radius)

    batch, channels, height, width = left.shape
    reach = 2 * radius + 1
    window = BLOCK + 2 * radius

    # Pad both maps to the same size; `right` begins `radius` pixels earlier
    blocks = -(-(width + 2 * radius) // BLOCK)
    pitch = blocks * BLOCK
    tall = height + reach
    rows = F.pad(left, (0, pitch - width, 0, reach)).permute(0, 2, 3, 1).contiguous()
    around = (radius, pitch - width - radius, radius, radius + 1)
    padded = F.pad(right, around).permute(0, 2, 3, 1).contiguous()

    # For each shift in y, all windows are overlapping views of the same memory, without any copy
    count = (batch * tall - reach) * blocks
    rows = rows.view(-1, BLOCK, channels)[:count]
    strides = (BLOCK * channels, 1, channels)
    products = left.new_empty(reach, count, BLOCK, window)
    for dy, product in enumerate(products):
        moved = padded.as_strided((count, channels, window), strides, dy * pitch * channels)
        torch.bmm(rows, moved, out=product)

    # Pixel i of a block needs columns i..i + 2 radius of its window: a diagonal band
    size = BLOCK * window
    shape = (height, blocks, BLOCK, reach, reach)
    band_strides = (blocks * size, size, window + 1, count * size, 1)
    cosines = left.new_empty(batch, height, width, reach, reach)
    for n, picture in enumerate(cosines):
        band = products.as_strided(shape, band_strides, n * tall * blocks * size)
        whole = width // BLOCK
        inside = picture[:, : whole * BLOCK].unflatten(1, (whole, BLOCK))
        inside.copy_(band[:, :whole])
        picture[:, whole * BLOCK :].copy_(band[:, whole, : width % BLOCK])
    return cosines.mul_(COSINE_GAIN).flatten(3).permute(0, 3, 1, 2)


def _correlate_copied_windows(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """Return the result of `correlate_features` for any radius.

    The windows are copied, because gradients through overlapping views would be slow.
    """
    batch, channels, height, width = left.shape
    reach = 2 * radius + 1
    blocks = -(-width // BLOCK)
    spare = blocks * BLOCK - width
    window = BLOCK + 2 * radius

    # N x H x blocks x C x reach x window: for each block, all pixels within reach
    rows = F.pad(left, (0, spare)).permute(0, 2, 3, 1).reshape(-1, BLOCK, channels)
    padded = F.pad(right, (radius, radius + spare, radius, radius)).permute(0, 2, 3, 1)
    windows = padded.unfold(1, reach, 1).unfold(2, window, BLOCK)
    windows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, reach * window, channels)
    products = torch.bmm(rows, windows.transpose(1, 2)).view(-1, BLOCK, reach, window)

    # Pixel i of a block needs columns i..i + 2 radius of its window: a diagonal band
    band = products.as_strided(
        (products.shape[0], BLOCK, reach, reach),
        (BLOCK * reach * window, reach * window + 1, window, 1),
    )
    cosines = band.reshape(batch, height, blocks * BLOCK, reach * reach)[:, :, :width]
    return COSINE_GAIN * cosines.permute(0, 3, 1, 2)


def correlate_for_export(left: Tensor, right: Tensor, radius: int) -> Tensor:
    """Return the result of `correlate_features`, computed with operations that ONNX supports.

    The traced operations work for any height and width. `radius` is at most BLOCK / 2.
    """
    batch, channels, height, width = left.shape
    reach = 2 * radius + 1
    overlap = 2 * radius

    # There is always a spare block, so that no branch depends on the width
    blocks = width // BLOCK + 1
    rows = F.pad(left, (0, BLOCK)).permute(0, 2, 3, 1)[:, :, : blocks * BLOCK]
    rows = rows.reshape(batch, height, blocks, BLOCK, channels)

    # The window of a block is the block itself and the start of the next one
    padded = F.pad(right, (radius, radius + 2 * BLOCK, radius, radius)).permute(0, 2, 3, 1)
    here = padded[:, :, : blocks * BLOCK]
    here = here.reshape(batch, height + overlap, blocks, BLOCK, channels)
    ahead = padded[:, :, BLOCK : (blocks + 1) * BLOCK]
    ahead = ahead.reshape(batch, height + overlap, blocks, BLOCK, channels)[..., :overlap, :]
    windows = torch.cat((here, ahead), dim=3)

    # N x H x blocks x reach x BLOCK x window
    shifted = torch.stack([windows[:, dy : dy + height] for dy in range(reach)], dim=3)
    products = torch.matmul(rows.unsqueeze(3), shifted.transpose(-1, -2))

    # Reshaping to rows that are longer by one element turns the diagonal band into columns
    flat = F.pad(products.flatten(-2), (0, BLOCK))
    band = flat.reshape(batch, height, blocks, reach, BLOCK, BLOCK + overlap + 1)[..., :reach]
    cosines = band.permute(0, 1, 2, 4, 3, 5).reshape(batch, height, -1, reach * reach)
    return COSINE_GAIN * cosines[:, :, :width].permute(0, 3, 1, 2)
