"""Find interlaced recordings: by what their first frame says, else by how their rows comb."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Literal

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from pipeline.media.read.decoder import Decoder
from pipeline.media.read.deinterlace import make_filter_graph
from pipeline.media.sandbox.parent import sandboxed
from pipeline.schema.clip import Recording, VideoClip

_FRAMES = 40
"""Looked at, from the beginning."""
_LEAST = 8
"""Frames that must tell: those that stand still tell nothing."""
_SHARE = 0.9
"""Of the telling frames that must say the same field comes first."""
_COMBED = 0.08
"""Of the pixels that move, those that must stick out of the rows above and below. Woven from real
recordings: 0.11 to 0.19 (one of flat shapes 0.03); progressive test patterns, which idet takes for
interlaced: 0.04."""
_STEP = 8
"""Levels of luma by which a pixel sticks out or moves."""


def choose_deinterlacing(clip: Recording, wish: Literal["auto", "off", "bwdif"]) -> Recording:
    """Return `clip` to be read as `--deinterlace` says; stills and views are never interlaced."""
    if not isinstance(clip, VideoClip) or wish == "off":
        return clip
    if wish == "auto" and clip.interlaced:
        return clip.model_copy(update={"deinterlace": "flagged"})
    if wish == "bwdif" or looks_interlaced(clip):
        return clip.model_copy(update={"deinterlace": "all"})
    return clip


@sandboxed
def looks_interlaced(clip: VideoClip) -> bool:
    """Tell whether frames that say they are progressive are woven of two fields.

    Files that were captured or converted carelessly say nothing or the wrong thing. Both FFmpeg's
    idet and the combs where something moves must say so: making progressive frames progressive
    costs detail.
    """
    told: Counter[str] = Counter()
    combs: list[float] = []
    graph: Graph | None = None
    before: NDArray[np.int16] | None = None
    with closing(Decoder(clip)) as decoder:
        for number, (_, frame) in enumerate(islice(decoder.frames(None), _FRAMES)):
            if (frame.width, frame.height) != (clip.width, clip.height):
                break
            luma = frame.reformat(format="gray").to_ndarray().astype(np.int16)
            if before is not None and (comb := _combed(before, luma)) is not None:
                combs.append(comb)
            before = luma
            graph = graph or make_filter_graph(frame, "idet")
            frame.pts = number
            graph.vpush(frame)
            told.update(_verdicts(graph))
    first = max(told["tff"], told["bff"])
    telling = told["tff"] + told["bff"] + told["progressive"]
    agreed = min(telling, len(combs)) >= _LEAST and first >= _SHARE * telling
    return agreed and statistics.median(combs) >= _COMBED


def _combed(before: NDArray[np.int16], luma: NDArray[np.int16]) -> float | None:
    """Return the share of moving pixels that stick out of their column; None for a still frame."""
    moves = np.abs(luma - before) > _STEP
    moving = moves[:-2] & moves[1:-1] & moves[2:]
    if not (count := int(moving.sum())):
        return None
    above, here, below = luma[:-2], luma[1:-1], luma[2:]
    up, down = here - above, here - below
    out = (np.minimum(up, down) > _STEP) | (np.maximum(up, down) < -_STEP)
    return float((out & (np.abs(above - below) < _STEP) & moving).sum() / count)


def _verdicts(graph: Graph) -> Iterator[str]:
    while True:
        try:
            seen = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield str(seen.metadata.get("lavfi.idet.single.current_frame", "undetermined"))
