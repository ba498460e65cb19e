"""Training samples with one or two key frames each, from clips recorded with a real encoder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.data.faults import break_reference
from crossnetpp.data.recorder import CAPTURES, KEY_FRAME_EVERY, Picture, Recorded, record_clip
from crossnetpp.data.sample import DataError, Pair, draw_crop_origin
from crossnetpp.networks.priors import weigh_references
from crossnetpp.networks.taps import make_bicubic_taps, make_box_taps


class RecordedBatch(NamedTuple):
    """N samples with the same scale and capture, each with K references, the nearest first."""

    lr: Tensor
    """N x 3 x h x w in 0..1."""
    target: Tensor
    """N x 3 x H x W in 0..1."""
    references: tuple[Tensor, ...]
    """K tensors of N x 3 x H x W in 0..1."""
    weights: Tensor
    """Prior weights of the references, N x K."""
    taps: Tensor
    """The kernel that reduced HR to LR, laid out as in `crossnetpp.networks.taps`."""

    def to(self, device: torch.device) -> RecordedBatch:
        """Return the batch on `device`."""
        return RecordedBatch(
            self.lr.to(device),
            self.target.to(device),
            tuple(reference.to(device) for reference in self.references),
            self.weights.to(device),
            self.taps.to(device),
        )


@dataclass(frozen=True)
class _Clip:
    """The frames of a clip, and its recordings, keyed by capture and scale."""

    frames: list[Picture]
    recordings: dict[tuple[str, int], Recorded]


class _Sample(NamedTuple):
    lr: NDArray[np.uint8]
    target: NDArray[np.uint8]
    references: list[NDArray[np.uint8]]
    weights: list[float]


class RecordedClips:
    """Source of samples from clips, each of which is recorded in several ways in advance."""

    def __init__(
        self,
        paths: Sequence[Path],
        captures: Sequence[str],
        scales: Sequence[int],
        *,
        frames: int = 5 * KEY_FRAME_EVERY + 1,
        fault_rate: float = 0.0,
        single_rate: float = 0.3,
    ) -> None:
        """Record the first `frames` frames of each clip with each of `captures` at each scale.

        `captures` are names in CAPTURES. In a share `fault_rate` of the samples, one reference is
        faulty. In a share `single_rate` of the batches, samples have one reference; in the others,
        they have two. Raises DataError if a clip has too few readable frames.
        """
        self.captures = tuple(captures)
        self.scales = tuple(scales)
        self.fault_rate = fault_rate
        self.single_rate = single_rate
        # Each encoder uses one thread, so the clips are recorded in parallel
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            clips = [(path, pool.submit(_read_frames, path, frames)) for path in paths]
            started = [self._start_recording(pool, path, read.result()) for path, read in clips]
            self._clips = [
                _Clip(clip, {way: future.result() for way, future in recordings.items()})
                for clip, recordings in started
            ]

    def _start_recording(
        self, pool: ThreadPoolExecutor, path: Path, frames: list[Picture]
    ) -> tuple[list[Picture], dict[tuple[str, int], Future[Recorded]]]:
        """Start recording a clip, and return its frames and the futures of its recordings.

        The futures are keyed by capture and scale. Raises DataError if there are too few frames.
        """
        if len(frames) <= KEY_FRAME_EVERY:
            raise DataError(
                f"found the clip {path} with {len(frames)} readable frame"
                f"{'s' * (len(frames) != 1)}, "
                f"expected more than {KEY_FRAME_EVERY}; leave the clip out"
            )
        return frames, {
            (name, scale): pool.submit(record_clip, frames, scale, CAPTURES[name])
            for name in dict.fromkeys(self.captures)
            for scale in dict.fromkeys(self.scales)
        }

    def draw(self, rng: np.random.Generator, batch: int, size: int) -> RecordedBatch:
        """Return `batch` samples with targets of `size` x `size` pixels."""
        capture = self.captures[int(rng.integers(len(self.captures)))]
        scale = self.scales[int(rng.integers(len(self.scales)))]
        count = 1 if rng.random() < self.single_rate else 2

        samples = [self._draw_sample(rng, capture, scale, count, size) for _ in range(batch)]
        make_taps = make_box_taps if CAPTURES[capture].kernel == "area" else make_bicubic_taps
        return RecordedBatch(
            _stack(sample.lr for sample in samples),
            _stack(sample.target for sample in samples),
            tuple(_stack(sample.references[k] for sample in samples) for k in range(count)),
            torch.tensor([sample.weights for sample in samples]),
            torch.from_numpy(make_taps(scale)),
        )

    def _draw_sample(
        self, rng: np.random.Generator, capture: str, scale: int, count: int, size: int
    ) -> _Sample:
        clip = self._clips[int(rng.integers(len(self._clips)))]
        recorded = clip.recordings[capture, scale]
        number, keys = self._draw_frame(rng, clip, count)

        height, width = clip.frames[0].shape[:2]
        origin = draw_crop_origin(rng, height, width, size)
        row, col = (place // 8 * 8 for place in origin)  # whole LR pixels at every scale
        window = np.s_[row : row + size, col : col + size]
        small = np.s_[row // scale : (row + size) // scale, col // scale : (col + size) // scale]
        target = clip.frames[number][window]
        references = [recorded.keys[key][window] for key in keys]
        if rng.random() < self.fault_rate:
            broken = int(rng.integers(count))
            other = self._draw_other(rng, size)
            pair = break_reference(rng, Pair(target, references[broken]), Pair(other, other))
            references[broken] = pair.reference

        pictures = _turn(rng, [recorded.lr[number][small], target, *references])
        distances = [abs(key - number) for key in keys]
        weights = weigh_references(distances).tolist()
        return _Sample(pictures[0], pictures[1], pictures[2:], weights)

    def _draw_frame(
        self, rng: np.random.Generator, clip: _Clip, count: int
    ) -> tuple[int, list[int]]:
        """Return the number of a random frame, and the numbers of `count` key frames around it.

        The nearer key frame comes first. If `count` is 1, the farther one is returned instead in a
        quarter of the calls.
        """
        intervals = (len(clip.frames) - 1) // KEY_FRAME_EVERY
        before = int(rng.integers(intervals)) * KEY_FRAME_EVERY
        number = before + int(rng.integers(1, KEY_FRAME_EVERY))
        keys = sorted((before, before + KEY_FRAME_EVERY), key=lambda key: abs(key - number))
        if count == 1 and rng.random() < 0.25:
            return number, keys[1:]
        return number, keys[:count]

    def _draw_other(self, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
        """Return a random `size` x `size` crop of a random frame of any clip."""
        clip = self._clips[int(rng.integers(len(self._clips)))]
        frame = clip.frames[int(rng.integers(len(clip.frames)))]
        row, col = draw_crop_origin(rng, frame.shape[0], frame.shape[1], size)
        return frame[row : row + size, col : col + size]


def _read_frames(path: Path, count: int) -> list[Picture]:
    """Return the first `count` frames of a clip, cropped to multiples of 8 pixels."""
    capture = cv2.VideoCapture(str(path))
    frames: list[Picture] = []
    while len(frames) < count and (read := capture.read())[0]:
        rgb = np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8)
        height, width = (side // 8 * 8 for side in rgb.shape[:2])
        frames.append(np.ascontiguousarray(rgb[:height, :width]))
    return frames


def _turn(rng: np.random.Generator, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return the pictures rotated and perhaps mirrored, all in the same random way."""
    quarters = int(rng.integers(4))
    step = -1 if rng.random() < 0.5 else 1
    return [np.ascontiguousarray(np.rot90(p, quarters)[:, ::step]) for p in pictures]


def _stack(pictures: Iterable[NDArray[np.uint8]]) -> Tensor:
    """Return N uint8 pictures (H x W x 3) as a float32 tensor, N x 3 x H x W in 0..1."""
    stacked = np.stack(list(pictures))
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div(255)
