"""Compare a case's output with its recording, reading both without the pipeline's own code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from jobs.media import bars, clips
from jobs.media.bicubic_run import SCALE, run_bicubic
from jobs.media.cases import Case
from pipeline.errors import PipelineError

_ART = Disposition.attached_pic | Disposition.timed_thumbnails
_LEVELS = {8: 1.0, 10: 2.0}  # bit depth -> largest allowed error of a colour bar in levels


@dataclass
class Result:
    """The result of a case.

    If there are no faults and no refusal, everything was preserved or a note states what was lost.
    """

    case: Case
    faults: list[str] = field(default_factory=list)
    refusal: str = ""
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """Either `kept`, `noted` (a note states what was lost or rounded), `refused` or `FAULT`."""
        if self.faults:
            return "FAULT"
        if self.refusal:
            return "refused"

        return "noted" if any("cannot hold it" in n or "round" in n for n in self.notes) else "kept"


@dataclass(frozen=True)
class Contents:
    """The contents of a file, as FFmpeg's libraries read them."""

    times: list[Fraction]
    """The time of each frame in seconds."""
    readings: list[bars.Reading]
    end: Fraction
    """The end of the last frame in seconds."""
    half_tick: Fraction
    """Half the video stream's time base, in seconds."""
    depth: int
    grey: bool
    rgb: bool
    tags: dict[str, Any]
    chapters: list[tuple[Fraction, Fraction, str]]
    others: dict[int, tuple[str, str, str]]
    """Stream index -> the stream's type, its language and the SHA-256 of its packets."""
    texts: dict[int, list[tuple[int, str]]]
    """Stream index -> the start in milliseconds and the text of each subtitle."""


def check_case(case: Case, folder: Path) -> Result:
    """Write the case's recording to `folder`, enhance it bicubically, and compare both files."""
    source = clips.write_clip(case, folder)
    reference = folder / "reference.png"
    width, height = case.width_height
    picture: NDArray[Any] = np.full((height * SCALE, width * SCALE, 3), 128, np.uint8)
    cv2.imwrite(str(reference), picture)

    result = Result(case)
    output = folder / f"out{case.suffix}"
    try:
        done = run_bicubic(source, reference, output, segment=0.2, **_near_lossless(case))
    except PipelineError as error:
        result.refusal = str(error)
        if "\n" in result.refusal or error.exit_status != 2:
            result.faults.append(f"not a refusal in one line: {result.refusal}")
        if output.exists():
            result.faults.append("a refused run left an output")
        return result

    result.notes = done.notes
    try:
        enhanced = read_contents(Path(done.output), SCALE)
    except (av.error.FFmpegError, ValueError, AssertionError) as error:
        result.faults.append(f"the output cannot be read: {error}")
        return result

    result.faults = compare_contents(read_contents(source), enhanced, done.notes)
    found = [reading.number for reading in enhanced.readings]
    expected = list(range(3 if case.start == "edit list" else 0, case.frames))
    if found != expected:
        result.faults.append(f"frames {found}, expected {expected}")
    return result


def _near_lossless(case: Case) -> dict[str, Any]:
    """Return nearly lossless encoder settings, so that quantisation does not affect the result."""
    if case.suffix == ".webm":
        return {"codec": "libvpx-vp9", "crf": 0}
    if case.pixels == "rgb":
        return {} if case.suffix == ".mkv" else {"codec": "libx264rgb", "crf": 0}
    if case.kind == "10":
        return {"crf": 2, "preset": "ultrafast"}
    return {"crf": 1, "preset": "veryfast"}


def read_contents(path: Path, scale: int = 1) -> Contents:
    """Return the contents of a recording of colour bars that was enlarged by `scale`.

    Raises FFmpegError, ValueError or AssertionError if the recording cannot be read.
    """
    with av.open(str(path)) as file:
        videos = [s for s in file.streams.video if not s.disposition & _ART]
        video = videos[0]
        base: Any = video.time_base
        times = []
        readings = []
        first = None
        for frame in file.decode(video):
            first = first or frame
            times.append(Fraction(frame.pts if frame.pts is not None else frame.dts or 0) * base)
            readings.append(bars.read_picture(frame, scale))
        assert first is not None, "it contains no frames"

        context = video.codec_context
        metadata = {key.lower(): value for key, value in video.metadata.items()}
        tags = {
            "matrix": int(context.colorspace),
            "range": int(context.color_range),
            "primaries": int(context.color_primaries),
            "transfer": int(context.color_trc),
            "sample aspect ratio": video.sample_aspect_ratio or Fraction(1),
            "display matrix": _display_matrix(first),
            "language": metadata.get("language", "und"),
            "timecode": metadata.get("timecode"),
        }
        chapters = [
            (
                Fraction(c["start"]) * (c["time_base"] or 1),
                Fraction(c["end"]) * (c["time_base"] or 1),
                c["metadata"].get("title", ""),
            )
            for c in file.chapters()
        ]
        components = first.format.components
        duration = video.duration
        index = video.index

    end, others = _digest_packets(path, index)
    if duration is not None and path.suffix in (".mp4", ".mov"):
        # with B-frames at a variable rate, the end that FFmpeg writes is before the last frame
        declared = times[0] + duration * base
        end = declared if declared > times[-1] else end

    return Contents(
        times=times,
        readings=readings,
        end=end,
        half_tick=base / 2,
        depth=max(component.bits for component in components),
        grey=len(components) == 1,
        rgb=first.format.is_rgb,
        tags=tags,
        chapters=chapters,
        others=others,
        texts=_read_texts(path),
    )


_TEXT_DECODERS = frozenset({"mov_text", "srt", "subrip", "ass", "ssa", "webvtt", "text"})


def _read_texts(path: Path) -> dict[int, list[tuple[int, str]]]:
    texts: dict[int, list[tuple[int, str]]] = {}
    with av.open(str(path)) as file:
        streams = [s for s in file.streams.subtitles if s.codec_context.name in _TEXT_DECODERS]
        for packet in file.demux(streams) if streams else []:
            if packet.pts is None:
                continue
            found = packet.stream.codec_context.decode2(packet)
            lines = [r.dialogue.decode() for r in found or () if hasattr(r, "dialogue")]
            if lines:
                start = round(packet.pts * packet.time_base * 1000)
                texts.setdefault(packet.stream_index, []).append((start, "\n".join(lines)))
    return texts


def _language(stream: Any) -> str:
    code = stream.metadata.get("language", "und")
    return {"ger": "deu"}.get(code, code)


def _is_made_by_muxer(stream: Any) -> bool:
    """Return whether the muxer made the stream from metadata (a timecode or chapter titles)."""
    return "timecode" in stream.metadata or getattr(stream, "name", "") == "bin_data"


def _display_matrix(frame: Any) -> list[int] | None:
    for number in range(len(frame.side_data)):
        data = frame.side_data[number]
        if data.type.name == "DISPLAYMATRIX":
            return list(memoryview(bytes(data)).cast("i"))
    return None


def _digest_packets(path: Path, video: int) -> tuple[Fraction, dict[int, tuple[str, str, str]]]:
    """Return the end of the last frame in seconds, and a description of all other streams.

    The description maps each stream's index to its type, its language and the SHA-256 of its
    packets. `video` is the index of the video stream.
    """
    end = Fraction(-1)
    shown: list[tuple[Fraction, Fraction]] = []
    with av.open(str(path)) as file:
        digests = {s.index: hashlib.sha256() for s in file.streams}
        kinds = {s.index: (s.type, _language(s)) for s in file.streams}
        derived = {s.index for s in file.streams if s.type == "data" and _is_made_by_muxer(s)}
        for stream in file.streams:
            if stream.type == "attachment":
                digests[stream.index].update(bytes(getattr(stream, "data", b"")))

        for packet in file.demux():
            data = bytes(packet)
            if packet.stream_index == video and packet.pts is not None and data:
                base: Any = packet.time_base
                shown.append((packet.pts * base, (packet.duration or 0) * base))
            elif data != b"\0\0":
                digests[packet.stream_index].update(data)

    if shown:
        last, duration = max(shown)
        before = sorted(shown)[-2][0] if len(shown) > 1 else last
        end = last + (duration or last - before)
    others = {
        index: (*kinds[index], digest.hexdigest())
        for index, digest in digests.items()
        if index != video and index not in derived
    }
    return end, others


def compare_contents(source: Contents, made: Contents, notes: tuple[str, ...]) -> list[str]:
    """Return the differences between the output `made` and `source` that no note mentions."""
    faults = []
    rounding = any("rounded" in note for note in notes)
    slack = made.half_tick if rounding else Fraction(0)
    off = [(a, b) for a, b in zip(source.times, made.times, strict=False) if abs(a - b) > slack]
    if len(source.times) != len(made.times):
        faults.append(f"{len(made.times)} frames, expected {len(source.times)}")
    if off:
        faults.append(f"{len(off)} times differ, the first is {off[0][1]}, expected {off[0][0]}")
    # transport streams store no durations, and readers guess the last one differently
    guess = 2 * source.half_tick if source.half_tick == Fraction(1, 180000) else 0
    if abs(source.end - made.end) > 2 * slack + guess:
        faults.append(f"it ends at {made.end} s, expected {source.end} s")

    for name, value in _expected_tags(source, made).items():
        if name == "range" and {made.tags[name], value} == {0, 1}:
            continue  # an unspecified range means limited
        if made.tags[name] != value and not any(name in note for note in notes):
            faults.append(f"{name} is {made.tags[name]}, expected {value}")
    faults += _colour_faults(source, made)

    titles = [title for _, _, title in made.chapters]
    expected_titles = [title for _, _, title in source.chapters]
    if titles != expected_titles and not any("chapter" in note for note in notes):
        faults.append(f"chapters are {made.chapters}, expected {source.chapters}")
    return faults + _stream_faults(source, made, notes)


def _expected_tags(source: Contents, made: Contents) -> dict[str, Any]:
    tags = dict(source.tags)
    if made.rgb:
        tags["matrix"] = made.tags["matrix"]
        tags["range"] = made.tags["range"]
    elif source.rgb:
        tags["matrix"] = 1
        tags["range"] = 1
    return tags


def _colour_faults(source: Contents, made: Contents) -> list[str]:
    worst = 0.0
    for a, b in zip(source.readings, made.readings, strict=False):
        scale = 2 ** (made.depth - source.depth)
        if source.rgb != made.rgb:
            pix_fmt = "gbrp" if made.rgb else "yuv444p"
            form = bars.PictureFormat(pix_fmt, bars.WIDTH, bars.HEIGHT, "bt709", False)
            truth = bars.encode_colours(bars.COLOURS, form)
        else:
            truth = a.bars * scale
        if source.grey and not made.grey:
            truth = np.concatenate([truth, np.full((8, 2), 2.0 ** (made.depth - 1))], axis=1)
        worst = max(worst, float(np.abs(truth - b.bars[:, : truth.shape[1]]).max()))
    most = _LEVELS.get(made.depth, 2.0)
    if worst <= most:
        return []
    return [f"colour bars are wrong by {worst:.2f} levels, expected at most {most:g}"]


def _text_faults(
    source: Contents, made: Contents, index: int, left: list[tuple[str, str, str]]
) -> list[str]:
    """Return the faults of the subtitle stream `index`, which the run converted.

    The converted stream is removed from `left`, the output streams that are not yet accounted for.
    """
    kind = source.others[index][:2]
    texts = source.texts.get(index, [])
    for number, stream in made.others.items():
        if stream in left and stream[:2] == kind:
            left.remove(stream)
            same = _same_text(made.texts.get(number, []), texts)
            return [] if same else [f"the text of stream {index} differs"]
    return [f"stream {index}, {' '.join(kind)}, is noted as converted but is missing"]


def _same_text(made: list[tuple[int, str]], texts: list[tuple[int, str]]) -> bool:
    return len(made) == len(texts) and all(
        abs(start - expected) <= 1 and text == words
        for (start, text), (expected, words) in zip(made, texts, strict=True)
    )


def _stream_faults(source: Contents, made: Contents, notes: tuple[str, ...]) -> list[str]:
    faults = []
    left = list(made.others.values())
    for index, stream in source.others.items():
        own = [note for note in notes if note.startswith(f"stream {index},")]
        noted = bool(own)
        if any(" becomes " in note and "cannot hold" in note for note in own):
            faults += _text_faults(source, made, index, left)
        elif stream in left:
            left.remove(stream)
            if noted:
                faults.append(f"stream {index}, {stream[0]}, is noted as lost but is present")
        elif not noted:
            faults.append(
                f"stream {index}, {stream[0]} {stream[1]}, is lost or differs, and no note says so"
            )
    faults += [f"a {kind} stream is not in the input" for kind, _, _ in left]
    return faults
