"""Deinterlace with FFmpeg's bwdif: each frame becomes one frame with the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

import av
from av.filter import Graph
from av.video.frame import VideoFrame

TimedFrame = tuple[int, VideoFrame]  # pts, frame


def deinterlace_frames(
    frames: Iterator[TimedFrame], which: Literal["flagged", "all"]
) -> Iterator[TimedFrame]:
    """Yield (pts, frame), deinterlacing "all" frames or only those "flagged" as interlaced.

    bwdif also uses the frames before and after each frame, so start one frame early if possible. A
    frame that differs in size from the first is yielded at once and unchanged.
    """
    graph: Graph | None = None
    waiting: deque[int] = deque()
    size = 0, 0
    for number, (pts, frame) in enumerate(frames):
        if graph is None:
            deint = {"flagged": "interlaced", "all": "all"}[which]
            graph = make_filter_graph(frame, "bwdif", f"mode=send_frame:parity=auto:deint={deint}")
            size = frame.width, frame.height
        elif size != (frame.width, frame.height):
            yield pts, frame
            continue
        # the filter alters irregular times, so it gets the frames' numbers instead
        frame.pts = number
        waiting.append(pts)
        graph.vpush(frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)


def _ready(graph: Graph, waiting: deque[int]) -> Iterator[TimedFrame]:
    while waiting:
        try:
            made = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield waiting.popleft(), made


def make_filter_graph(frame: VideoFrame, name: str, options: str | None = None) -> Graph:
    """Return a graph of one FFmpeg filter for frames of the size and format of `frame`."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    chosen = graph.add(name, options)
    sink = graph.add("buffersink")
    source.link_to(chosen)
    chosen.link_to(sink)
    graph.configure()
    return graph
