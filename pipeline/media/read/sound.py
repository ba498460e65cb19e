"""Measure the loudness of a recording over time, which is used to align recordings."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from pipeline.media.container import MEDIA_ERRORS, demux_packets, open_container
from pipeline.media.sandbox.parent import sandboxed
from pipeline.schema.clip import Clip, VideoClip

LEVELS_PER_SECOND = 100
_RATE = 8000  # samples per second
_WINDOW = _RATE // LEVELS_PER_SECOND
_LONGEST_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Loudness:
    """The energy of a recording's sound in windows of 10 ms."""

    start: float
    """Time of the first window in seconds, on the recording's clock."""
    levels: list[float]
    """Mean square of the samples in each window, 0 to 1."""


@sandboxed
def read_loudness(clip: Clip) -> Loudness | None:
    """Return the loudness of a video's first audio track that can be decoded; None if it has none.

    Raises MediaError if the file cannot be read to its end.
    """
    if not isinstance(clip, VideoClip):
        return None
    with open_container(clip.path) as container:
        tracks = [s for s in container.streams.audio if s.codec_context is not None]
        if not tracks:
            return None

        start: float | None = None
        energy = array("f")
        for seconds, samples in _read_samples(container, tracks[0], clip.path):
            start = seconds if start is None else start
            # samples are placed by their times, because tracks may have gaps
            first = round((seconds - start) * _RATE)
            if first < 0 or first > _LONGEST_SECONDS * _RATE:
                continue
            windows = (first + np.arange(len(samples))) // _WINDOW
            lack = int(windows[-1]) + 1 - len(energy)
            if lack > 0:
                energy.frombytes(bytes(4 * lack))
            view = np.frombuffer(energy, np.float32)
            added = np.bincount(windows - windows[0], samples.astype(np.float64) ** 2)
            view[windows[0] : windows[-1] + 1] += added.astype(np.float32) / _WINDOW
            del view

        return None if start is None else Loudness(start, energy.tolist())


def _read_samples(
    container: InputContainer, track: AudioStream, path: str
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Yield the time in seconds and the mono samples of each decoded frame; skip damaged ones."""
    resampler = AudioResampler(format="flt", layout="mono", rate=_RATE)
    for packet in demux_packets(container, track, path):
        try:
            decoded: list[object] = [*packet.decode()]
            sounds = [frame for frame in decoded if isinstance(frame, AudioFrame)]
            frames = [made for frame in sounds for made in resampler.resample(frame)]
        except MEDIA_ERRORS:
            resampler = AudioResampler(format="flt", layout="mono", rate=_RATE)
            continue
        for frame in frames:
            if frame.pts is not None and frame.time_base and frame.samples:
                samples = np.asarray(frame.to_ndarray(), np.float32).ravel()
                yield float(frame.pts * frame.time_base), samples
