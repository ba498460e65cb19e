"""Pairs of pictures with known flow: stereo pairs, and scenes rendered from photographs.

No shipped weights were trained on these stereo pairs or photographs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.classical.optical_flow import Flow
from crossnetpp.data.sample import DataError, Pair, read_rgb
from crossnetpp.data.stereo import make_flow_pairs, read_disparity
from crossnetpp.data.synthetic.generator import GeneratorSettings, PairGenerator
from crossnetpp.evaluation.scenes import Picture, crop_to_multiple

MULTIPLE = 8  # the largest scale, so that the same pixels are measured at every scale
PHOTOS = tuple(f"photos/kodak_{number}.jpg" for number in (21, 22, 23, 24))
SIZE = 384  # pixels; with the margin that a texture needs, this fits into a photograph
PER_BAND = 12  # rendered pairs in each of BANDS
SEED = 20261128
LEAST_VISIBLE = 0.25  # least share of a rendered pair's pixels whose flow is known
# Range of the mean motion of rendered pairs, in pixels
BANDS = {
    "rendered, below 8 px": (0, 8),
    "rendered, 8 to 32 px": (8, 32),
    "rendered, 32 to 128 px": (32, 128),
}
# Pairs with a single reference, without faults
CLEAN = GeneratorSettings(
    reach=128.0, recorded=0.0, chroma_subsampled=0.0, fault_rate=0.0, single_rate=1.0
)


@dataclass(frozen=True, eq=False)
class FlowPair:
    """A target and a reference with known flow."""

    target: Picture
    reference: Picture
    flow: Flow
    """H x W x 2, in pixels: the reference at x + flow(x) shows what the target shows at x.

    The flow is NaN where it is unknown, and where it leads to no visible point."""


@dataclass(frozen=True, eq=False)
class FlowScene:
    """Pairs whose errors are averaged together."""

    name: str
    pairs: tuple[FlowPair, ...]


def load_scenes(data: Path) -> list[FlowScene]:
    """Return a scene for each stereo pair, in both directions, and one for each of BANDS.

    Raises DataError if a file in the folder `data` is missing or unreadable.
    """
    stereo = [FlowScene(name, read_stereo(data, name)) for name in ("motorcycle", "cones")]
    bands = render_bands([_find_file(data, name) for name in PHOTOS])
    return stereo + [FlowScene(name, pairs) for name, pairs in bands.items()]


def read_stereo(data: Path, name: str) -> tuple[FlowPair, ...]:
    """Return two pairs from the stereo pair `name`, with one and the other picture as the target.

    `name` is motorcycle or cones. Raises DataError if a file in the folder `data` is missing or
    unreadable.
    """
    names = {
        "motorcycle": ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disp.npz"),
        "cones": ("cones_left_rgb.tif", "cones_right_rgb.tif", "cones_disp_left.tif"),
    }[name]
    left, right, disparity = (_find_file(data, f"stereo/{file}") for file in names)
    pairs = make_flow_pairs(_read_picture(left), _read_picture(right), read_disparity(disparity))
    return tuple(crop_flow_pair(pair) for pair in pairs)


def crop_flow_pair(pair: Pair) -> FlowPair:
    """Return `pair` cropped to multiples of MULTIPLE; flow that leaves the crop becomes NaN."""
    assert pair.flow is not None
    target, reference = (crop_to_multiple(p, MULTIPLE) for p in (pair.target, pair.reference))
    height, width = target.shape[:2]
    flow = pair.flow[:height, :width]
    y, x = np.mgrid[:height, :width]
    end_x, end_y = x + flow[..., 0], y + flow[..., 1]
    inside = (end_x >= 0) & (end_x <= width - 1) & (end_y >= 0) & (end_y <= height - 1)
    return FlowPair(target, reference, np.where(inside[..., None], flow, np.float32(np.nan)))


def render_bands(
    photos: list[Path], size: int = SIZE, per_band: int = PER_BAND
) -> dict[str, tuple[FlowPair, ...]]:
    """Return `per_band` rendered pairs of `size` x `size` pixels for each of BANDS."""
    generator = PairGenerator.from_files(photos, CLEAN, torch.device("cpu"))
    found: dict[str, list[FlowPair]] = {name: [] for name in BANDS}
    for number in itertools.count():
        batch = generator.draw((SEED, number), 1, size)
        flow = batch.flow[0].permute(1, 2, 0).numpy()
        known = np.isfinite(flow[..., 0])
        if known.mean() >= LEAST_VISIBLE:
            motion = float(np.hypot(*flow[known].T).mean())
            pair = FlowPair(
                _to_picture(batch.samples.target), _to_picture(batch.samples.references[0]), flow
            )
            for name, (least, most) in BANDS.items():
                if least <= motion < most and len(found[name]) < per_band:
                    found[name].append(pair)
        if all(len(pairs) == per_band for pairs in found.values()):
            break
    return {name: tuple(pairs) for name, pairs in found.items()}


def _find_file(data: Path, name: str) -> Path:
    path = data / name
    if not path.is_file():
        fault = f"no file {name} in {data}" if data.is_dir() else f"no folder {data}"
        raise DataError(
            f"there is {fault}, expected a folder with stereo pairs and photographs; "
            "try --data with the folder that training uses"
        )
    return path


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture as uint8 H x W x 3 RGB; a TIFF may contain the same levels as floats."""
    if path.suffix != ".tif":
        return read_rgb(path)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise DataError(f"cannot read {path}, expected a TIFF with RGB levels; get the file again")
    levels = np.asarray(np.rint(image).clip(0, 255), np.uint8)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_BGR2RGB), np.uint8)


def _to_picture(planes: Tensor) -> Picture:
    """Return `planes` (1 x 3 x H x W in 0..1) as uint8 H x W x 3."""
    return planes[0].permute(1, 2, 0).mul(255).round().byte().contiguous().numpy()
