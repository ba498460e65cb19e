"""Small recordings that tests encode, with all the features that a container can have."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.media.join import verify
from pipeline.media.join.capabilities import default_output_path
from pipeline.media.join.remux import join_segments
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import choose_encoding
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.clip import Clip
from pipeline.schema.encoding import Encoding

WIDTH = 96
HEIGHT = 64
FAST = Encoding(preset="veryfast", threads=1)  # with B-frames
CLOSED = {"preset": "ultrafast", "g": "12", "sc_threshold": "0", "threads": "1"}
OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3", "threads": "1"}


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return frame `number` of a smooth, moving texture, uint8 height x width x 3 RGB."""
    random = np.random.default_rng(3)
    coarse = random.integers(16, 240, (8, 12, 3), np.uint8).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.roll(smooth, 2 * number, axis=1)


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    pix_fmt: str = "yuv420p",
    colour: tuple[int, int, int, int] = (2, 0, 2, 2),
    extras: bool = False,
    cover: bool = False,
    font: str = "font.ttf",
) -> Path:
    """Encode one picture at each of `pts` (default 0 to 39).

    `colour` is the matrix, range, primaries and transfer, as FFmpeg numbers them.

    `extras` adds two audio tracks, a subtitle, two chapters and, in Matroska, an attachment
    named `font`.
    """
    pts = list(range(40)) if pts is None else pts
    scale = {}
    if path.suffix in (".mp4", ".mov"):
        ticks = str(time_base.denominator)
        scale = {"video_track_timescale": ticks, "movie_timescale": ticks}
    with av.open(str(path), "w", container_options=scale) as container:
        stream = container.add_stream(codec, rate=25, options=dict(options or CLOSED))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        context = stream.codec_context
        context.colorspace, context.color_range = colour[0], colour[1]
        context.color_primaries, context.color_trc = colour[2], colour[3]
        audios = [container.add_stream("aac", rate=48000) for _ in range(2 if extras else 0)]
        for audio, language in zip(audios, ("deu", "fra"), strict=False):
            audio.metadata["language"] = language
        art = container.add_stream("mjpeg", rate=1) if cover else None
        if art is not None:
            art.width, art.height, art.pix_fmt = 32, 32, "yuvj420p"
            art.disposition = Disposition.attached_pic
        subtitle = None
        if extras:
            subtitle = container.add_mux_stream("mov_text" if scale else "subrip")
            subtitle.time_base = Fraction(1, 1000)
            subtitle.metadata["language"] = "eng"
            container.metadata["title"] = "a title"
            container.set_chapters(
                [_chapter(1, 0, 800, "first"), _chapter(2, 800, 1600, "second")],
            )
            if path.suffix == ".mkv":
                container.add_attachment(font, "font/ttf", bytes(range(256)) * 4)
        for number, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for audio in audios:
            _sound(container, audio)
        if subtitle is not None:
            text = av.Packet(b"\x00\x05hello" if scale else b"hello")
            text.stream, text.time_base = subtitle, Fraction(1, 1000)
            text.pts = text.dts = 200
            text.duration = 900
            container.mux(text)
        if art is not None:
            small = cv2.resize(picture(0), (32, 32))
            frame = av.VideoFrame.from_ndarray(small, format="rgb24").reformat(format="yuvj420p")
            container.mux(art.encode(frame))
            container.mux(art.encode(None))
    return path


def _chapter(number: int, start: int, end: int, title: str) -> dict[str, object]:
    base = Fraction(1, 1000)
    return {
        "id": number, "start": start, "end": end, "time_base": base, "metadata": {"title": title}
    }  # fmt: skip


def _sound(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    for block in range(60):
        wave = np.sin(np.arange(1024) * 0.05 * (1 + stream.index) + block).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(
            np.stack([wave, wave]) * 0.3, format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, block * 1024, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def make_audio(path: Path) -> Path:
    """Encode a file that has sound but no video."""
    with av.open(str(path), "w") as container:
        _sound(container, container.add_stream("aac", rate=48000))
    return path


def make_segments(
    clip: Clip, encoding: Encoding, folder: Path, *, length: int = 15, enlarge: int = 1
) -> list[Path]:
    """Write a clip as segments of `length` frames, with each frame enlarged by `enlarge`."""
    pts = scan(clip).pts
    files = []
    for number, start in enumerate(range(0, len(pts), length)):
        wanted = pts[start : start + length]
        files.append(folder / f"{number:03d}.nut")
        size = (clip.width * enlarge, clip.height * enlarge)
        with SegmentWriter(str(files[-1]), clip, encoding, *size) as writer:
            for frame in read_frames(clip, wanted[0], wanted[-1] + 1, expected=wanted):
                writer.write(cv2.resize(frame.rgb, size), frame.pts)
    return files


def read_packets(path: Path) -> dict[tuple[int, str], list[bytes]]:
    """Return the packets of a file by stream index and type, read without the code under test.

    MP4's empty subtitles are omitted, because its muxer inserts them between the others.
    """
    found: dict[tuple[int, str], list[bytes]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and bytes(packet) != b"\0\0":
                key = (packet.stream_index, packet.stream.type)
                found.setdefault(key, []).append(bytes(packet))
    return found


def read_seconds(path: Path) -> list[Fraction]:
    """Return the exact times of a file's first video, decoded without the code under test."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [Fraction(frame.pts or 0) * (frame.time_base or 0) for frame in frames]


def remake_video(path: Path, folder: Path, *, name: str | None = None, length: int = 15) -> Path:
    """Encode a file again in segments at its own size, and return the joined output."""
    clip = probe(str(path))
    encoding = FAST
    if clip.bit_depth > 8 or clip.width > 500:
        encoding = choose_encoding(clip, preset="ultrafast")
    files = make_segments(clip, encoding, folder, length=length)
    out = folder / (name or default_output_path(clip, "x2", encoding).name)
    join_segments(clip, files, out, encoding)
    return out


def find_differences(clip: Clip, out: Path) -> list[str]:
    """Return the differences between a clip and its output at the same size."""
    return verify.find_differences(clip, scan(clip), out, clip.width, clip.height)
