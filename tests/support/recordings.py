"""Small recordings of a moving texture in LR and HR, with settings and plans for runs on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.engines.bicubic_engine import BicubicEngine
from pipeline.media.read.probe import probe, scan
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan, ReferencePlan, Segment
from pipeline.schema.reference_map import ReferenceChoice
from pipeline.schema.settings import RunSettings


class BorrowingEngine(BicubicEngine):
    """A bicubic engine that receives references as a network does."""

    def __init__(self, *, threads: int | None = 1) -> None:
        super().__init__(threads=threads)
        self.info = replace(self.info, borrows=True)


RATE = 25  # frames per second
GOP = 10  # frames


def texture(index: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return frame `index` of a pan over a fixed texture, uint8 H x W x 3 RGB."""
    random = np.random.default_rng(5)
    ground = cv2.resize(
        random.integers(0, 255, (height // 4, width // 2, 3), np.uint8).astype(np.uint8),
        (2 * width, height),
        interpolation=cv2.INTER_CUBIC,
    )

    shift = (3 * index) % width
    return np.ascontiguousarray(ground[:, shift : shift + width])


def write_video(
    path: Path,
    frames: list[NDArray[np.uint8]],
    *,
    gop: int = GOP,
    rate: int = RATE,
    every: int = 1,
) -> Path:
    """Encode frames at `rate` per second, with a key frame every `gop` frames.

    With `every`, only one in so many of them is encoded, at its own time.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate)
        stream.options = {
            "crf": "10",
            "preset": "ultrafast",
            "g": str(gop),
            "keyint_min": str(gop),
            "sc_threshold": "0",
            "threads": "1",
        }

        for index in range(0, len(frames), every):
            picture = av.VideoFrame.from_ndarray(frames[index], format="rgb24")
            picture.pts = index
            picture.time_base = Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def write_pair(
    folder: Path, *, frames: int = 40, height: int = 96, width: int = 128, scale: int = 2
) -> tuple[Path, Path]:
    """Write `lr.mkv` and `hr.mkv`, the same pan in two sizes, and return their paths."""
    sharp = [texture(i, height, width) for i in range(frames)]
    small = [
        cv2.resize(f, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
        for f in sharp
    ]
    return write_video(folder / "lr.mkv", small), write_video(folder / "hr.mkv", sharp)


def write_keys(folder: Path, *, frames: int = 40, every: int = 12) -> Path:
    """Write `keys.mkv`, every so many frames of `hr.mkv` as `write_pair` makes it."""
    sharp = [texture(i, 96, 128) for i in range(frames)]
    return write_video(folder / "keys.mkv", sharp, every=every)


def settings_for(pair: tuple[Path, Path], output: Path, **changes: object) -> RunSettings:
    """Return the settings of a quick run in this process, in segments of 10 frames."""
    values: dict[str, object] = {
        "input": str(pair[0]),
        "ref_stream": str(pair[1]),
        "output": str(output),
        "engine": "bicubic",
        "runner": "inline",
        "segment": 0.4,
        "preset": "ultrafast",
        "batch": 4,
    }
    return RunSettings.model_validate(values | changes)


def plan_pair(pair: tuple[Path, Path], output: Path) -> Plan:
    """Return a plan with a segment for every GOP; every fifth frame has no reference."""
    lr, hr = (probe(str(path)) for path in pair)
    pts = scan(lr).pts
    ref_pts = scan(hr).pts
    step = pts[1] - pts[0]

    segments = []
    for index in range(0, len(pts), GOP):
        part = pts[index : index + GOP]
        segments.append(
            Segment(
                index=index // GOP,
                start_pts=part[0],
                end_pts=part[-1] + step,
                frames=len(part),
            )
        )
    return Plan(
        input=lr,
        reference=ReferencePlan(clip=hr, select="time", max_distance=1.0, match_colour=False),
        output=str(output),
        scale=2,
        width=hr.width,
        height=hr.height,
        engine="bicubic",
        model="fast",
        batch=4,
        encoding=Encoding(preset="ultrafast", threads=1),
        threads=1,
        segments=tuple(segments),
        reference_map=tuple(
            ReferenceChoice(pts=p, ref_pts=None, seconds=None, why="too far")
            if i % 5 == 4
            else ReferenceChoice(pts=p, ref_pts=ref_pts[i // 4 * 4], seconds=0.0, why="nearest")
            for i, p in enumerate(pts)
        ),
    )
