"""Write the recording of a case: colour bars as pictures, tones as sound, and any extra stream."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition, Stream

from jobs.media import bars
from jobs.media.cases import Case

# codes of matrix, range, primaries and transfer; the range has FFmpeg's code, the others H.273's
_TAGS = {
    "bt601 limited": (6, 1, 6, 6), "bt601 full": (6, 2, 6, 6),
    "bt709 limited": (1, 1, 1, 1), "bt709 full": (1, 2, 1, 1),
    "bt2020 limited": (9, 1, 9, 14), "bt2020 full": (9, 2, 9, 14),
    "pq": (9, 1, 9, 16), "hlg": (9, 1, 9, 18), "untagged": (2, 0, 2, 2),
}  # fmt: skip
_STEPS_MS = (40, 40, 80, 20, 120, 40, 60)  # intervals between frames at a variable rate
_SOUND = {"mp4": "aac", "mov": "aac", "mkv": "flac", "webm": "libopus", "avi": "pcm_s16le"}
_FLAGS = {
    "libx264": {"qp": "0", "preset": "veryfast"},
    "libx264rgb": {"qp": "0", "preset": "ultrafast"},
    "libvpx-vp9": {"lossless": "1", "cpu-used": "8", "deadline": "realtime"},
}


def picture_format(case: Case) -> bars.PictureFormat:
    """Return the format of the case's pictures."""
    matrix = case.colour.split()[0]
    if matrix in ("pq", "hlg"):
        matrix = "bt2020"
    if matrix == "untagged":
        matrix = "bt601"  # what players assume for small pictures
    width, height = case.width_height
    return bars.PictureFormat(case.pix_fmt, width, height, matrix, "full" in case.colour)


def choose_times(case: Case) -> tuple[Fraction, list[int]]:
    """Return the time base in seconds, and the pts of all frames.

    The list of pts also contains, as its last item, the end of the last frame.
    """
    base = Fraction(1, 90000 if case.container == "ts" else 1000)
    if case.rate == "ntsc":
        base = Fraction(1001, 30000) if case.container == "avi" else Fraction(1, 30000)
    elif case.container == "avi":
        base = Fraction(1, 25)

    one = round(Fraction(1, 25) / base)
    if case.rate == "ntsc":
        one = round(Fraction(1001, 30000) / base)
    steps = [one] * case.frames
    if case.rate == "variable":
        milli = Fraction(1, 1000) / base
        steps = [int(_STEPS_MS[i % len(_STEPS_MS)] * milli) for i in range(case.frames)]

    # with an edit list, three frames lie before time 0, and players hide them
    first = {"zero": 0, "positive": 12 * one, "edit list": -3 * one}[case.start]
    return base, list(accumulate(steps, initial=first))


def write_clip(case: Case, folder: Path) -> Path:
    """Write the case's recording losslessly to `folder/in.<container>`, and return its path."""
    path = folder / f"in.{case.container}"
    base, pts = choose_times(case)
    with av.open(str(path), "w", container_options=_container_options(case, base)) as container:
        video = _add_video(container, case, base)
        sounds = [_add_sound(container, case, number) for number in range(case.audio)]
        extra = _add_extra(container, case)

        packets: list[Any] = []
        for number, time in enumerate(pts[:-1]):
            frame = bars.draw_picture(number % 256, picture_format(case))
            frame.pts = time
            frame.time_base = base
            packets += video.encode(frame)
        packets += video.encode(None)
        durations = {a: b - a for a, b in pairwise(pts)}
        for packet in packets:
            packet.duration = durations.get(packet.pts, packet.duration or 0)

        first = pts[0] * base
        end = pts[-1] * base
        for stream in sounds:
            packets += _encode_tone(stream, first, end)
        packets += extra(first)

        packets.sort(key=lambda p: p.dts * p.time_base)
        for packet in packets:
            container.mux(packet)
    return path


def _container_options(case: Case, base: Fraction) -> dict[str, str]:
    options = {"fflags": "+bitexact"}
    if case.container in ("mp4", "mov"):
        options |= {"video_track_timescale": str(base.denominator), "movie_timescale": "90000"}
        if case.start == "edit list":
            options["avoid_negative_ts"] = "disabled"
    if case.container == "ts":
        options["mpegts_copyts"] = "1"
    return options


def _add_video(container: OutputContainer, case: Case, base: Fraction) -> Any:
    stream: Any = container.add_stream(case.codec, rate=25, options=_encoder_options(case))
    stream.width, stream.height = case.width_height
    stream.pix_fmt = case.pix_fmt
    stream.time_base = base
    context = stream.codec_context
    context.time_base = base
    context.thread_count = 1

    if case.pixels != "rgb":
        matrix, colour_range, primaries, transfer = _TAGS[case.colour]
        context.colorspace = matrix
        context.color_range = colour_range
        context.color_primaries = primaries
        context.color_trc = transfer

    if case.shape == "anamorphic":
        context.sample_aspect_ratio = Fraction(4, 3)
    if case.shape in ("90", "180", "270"):
        stream.set_display_rotation(int(case.shape))
    elif case.shape == "mirrored":
        one = 1 << 16
        stream.set_display_matrix([-one, 0, 0, 0, one, 0, 0, 0, 1 << 30])

    if case.extra == "timecode":
        stream.metadata["timecode"] = "01:02:03:04"
    stream.metadata["language"] = "eng"
    return stream


def _encoder_options(case: Case) -> dict[str, str]:
    options = dict(_FLAGS.get(case.codec, {}))
    open_groups = int(case.groups == "open")
    keyint = 1 if case.groups == "intra" else 5
    b_frames = 0 if case.groups == "intra" else 2
    if case.frames < 4:
        b_frames = 0  # if a clip is shorter than x265's delay, x265 writes a dts after the pts

    if case.codec in ("libx264", "libx264rgb"):
        options["x264-params"] = (
            f"keyint={keyint}:min-keyint={keyint}:scenecut=0:bframes={b_frames}:"
            f"open-gop={open_groups}:threads=1"
        )
    elif case.codec == "libx265":
        options["preset"] = "ultrafast"
        options["x265-params"] = (
            f"lossless=1:log-level=none:pools=none:frame-threads=1:keyint={keyint}:"
            f"min-keyint={keyint}:scenecut=0:bframes={b_frames}:open-gop={open_groups}"
        )
    elif case.codec == "libvpx-vp9":
        options["g"] = str(keyint)
    return options


def _add_sound(container: OutputContainer, case: Case, number: int) -> Any:
    codec = _SOUND.get(case.container, "mp2")
    stream: Any = container.add_stream(codec, rate=48000, layout="stereo")
    stream.metadata["language"] = ("deu", "fra", "spa")[number]
    return stream


def _encode_tone(stream: Any, first: Fraction, end: Fraction) -> list[Any]:
    size = stream.codec_context.frame_size or 1152
    kind = stream.codec_context.format.name
    packets: list[Any] = []
    for block in range(int(max(end - first, Fraction(1, 10)) * 48000) // size + 1):
        wave = np.sin((np.arange(size) + block * size) * 0.05 * (1 + stream.index)) * 0.3
        data = np.stack([wave, wave]).astype(np.float32)
        if kind.startswith("s16"):
            data = (data * 32767).astype(np.int16)
        elif kind.startswith("s32"):
            data = (data.astype(np.float64) * 2**30).astype(np.int32)
        if not kind.endswith("p"):
            data = np.ascontiguousarray(data.T.reshape(1, -1))

        frame = av.AudioFrame.from_ndarray(data, format=kind, layout="stereo")
        frame.sample_rate = 48000
        frame.time_base = Fraction(1, 48000)
        frame.pts = round(max(first, 0) * 48000) + block * size
        packets += stream.encode(frame)
    return packets + list(stream.encode(None))


def _add_extra(container: OutputContainer, case: Case) -> Any:
    """Add the stream, chapters or attachment of `case.extra` to the container.

    Return a function that takes the start time in seconds and returns the stream's packets.
    """
    codecs = {
        "text": {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"},
        "bitmap": {"mp4": "dvd_subtitle", "mkv": "hdmv_pgs_subtitle", "ts": "dvb_subtitle"},
        "data": {"ts": "timed_id3"},
    }
    if case.extra in codecs:
        codec = codecs[case.extra][case.container]
        stream = container.add_mux_stream(codec)
        stream.time_base = Fraction(1, 1000)
        stream.metadata["language"] = "eng"
        text = b"\x00\x05hello" if codec == "mov_text" else b"hello"
        data = {"text": text, "bitmap": b"\x0f\x80\x00\x01\x00\x00", "data": b"ID3" + bytes(20)}
        return lambda first: [_make_packet(data[case.extra], stream, max(first, Fraction(0)))]

    if case.extra == "chapters":
        base = Fraction(1, 1000)
        chapters: Any = [
            {"id": n, "start": a, "end": b, "time_base": base, "metadata": {"title": f"part {n}"}}
            for n, a, b in ((1, 0, 100), (2, 100, 200))
        ]
        container.set_chapters(chapters)
    elif case.extra == "attachment":
        container.add_attachment("font.ttf", "font/ttf", bytes(range(256)) * 4)
    elif case.extra == "cover":
        return _add_cover(container)
    return lambda first: []


def _make_packet(data: bytes, stream: Stream, first: Fraction) -> Any:
    packet: Any = av.Packet(data)
    packet.stream = stream
    packet.time_base = Fraction(1, 1000)
    packet.pts = packet.dts = round((first + Fraction(1, 50)) * 1000)
    packet.duration = 60
    return packet


def _add_cover(container: OutputContainer) -> Any:
    stream: Any = container.add_stream("mjpeg", rate=1)
    stream.width = 32
    stream.height = 32
    stream.pix_fmt = "yuvj420p"
    stream.disposition = Disposition.attached_pic

    def encode_cover(first: Fraction) -> list[Any]:
        # PyAV leaves the planes of a new frame uninitialised
        grey = np.full((32 * 3 // 2, 32), 128, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="yuvj420p")
        frame.pts = 0
        frame.time_base = Fraction(1)
        return [*stream.encode(frame), *stream.encode(None)]

    return encode_cover
