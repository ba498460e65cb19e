"""Compare a finished output with its input and with what was planned."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer

from pipeline.errors import MediaError
from pipeline.media.alpha import keeps_alpha
from pipeline.media.colour import is_rgb, output_colour
from pipeline.media.container import codec_name, open_container
from pipeline.media.join.decoded import name_stills
from pipeline.media.pictures import stills, transparent
from pipeline.media.read.probe import probe_video, scan
from pipeline.media.sandbox.parent import sandboxed
from pipeline.media.streams import (
    UNKNOWN_LANGUAGE,
    TimeWindow,
    choose_muxer,
    list_text_forms,
    muxer_language,
    same_language,
    select_chapters,
    select_packets,
    split_streams,
)
from pipeline.media.subtitles import Cue, convert_packets, make_encoder
from pipeline.schema.clip import Clip, FrameIndex, Stills, VideoClip
from pipeline.schema.colour import Colour
from pipeline.schema.encoding import Encoding

_WITHOUT_DURATIONS = frozenset({"mpegts"})
_USUAL_DURATIONS = "matroska"  # its demuxer gives most frames one duration, that of the frame rate
_EMPTY_SUBTITLE = b"\0\0"
_TEXT_TICK = Fraction(1, 1000)  # seconds; precision to which the times of subtitles are compared


@sandboxed
def find_differences(
    clip: Clip,
    index: FrameIndex,
    out: Path,
    width: int,
    height: int,
    encoding: Encoding | None = None,
) -> list[str]:
    """Return the differences between `out` and a faithful output of `clip`, one per item.

    `index` lists the frames that `out` must have. Their times must match exactly, or to within half
    a tick if the container's ticks cannot express the input's. Whether a video must be transparent
    depends on `encoding`; if that is None, a video's transparency is not compared.
    """
    if isinstance(clip, Stills):
        return _still_differences(clip, index, out, width, height)
    try:
        made = probe_video(str(out))
        made_index = scan(made)
    except MediaError as error:
        return [f"the output cannot be read back: {error}"]
    found = _picture_differences(clip, made, width, height)
    promised = encoding is not None and keeps_alpha(encoding.codec, encoding.pix_fmt)
    if clip.alpha and promised and not made.alpha:
        found.append("it is opaque, expected the transparency of the input")
    found += _time_differences(clip, index, made, made_index)
    if clip.is_film:
        found += [f"it has a stream of {other.type}, expected none" for other in made.other_streams]
    else:
        found += _stream_differences(clip, index, made)
    return found


def _picture_differences(clip: Clip, made: Clip, width: int, height: int) -> list[str]:
    colour, found_colour = output_colour(clip.colour, made.pix_fmt), made.colour
    if is_rgb(made.pix_fmt) and colour.matrix in (0, 2):
        # H.264 video in RGB is tagged even if the input is not
        rgb = {"matrix": 0, "range": 2}
        colour = colour.model_copy(update=rgb)
        found_colour = found_colour.model_copy(update=rgb)
    pairs = {
        "size": ((made.width, made.height), (width, height)),
        "rotation": (made.rotation, clip.rotation),
        "sample aspect ratio": (made.sample_aspect_ratio, clip.sample_aspect_ratio),
        "colour matrix": (found_colour.matrix, colour.matrix),
        "colour range": (found_colour.range, colour.range),
        "colour primaries": (made.colour.primaries, colour.primaries),
        "colour transfer": (made.colour.transfer, colour.transfer),
    }
    if clip.hdr is not None and made.codec == "hevc" and made.hdr != clip.hdr:
        pairs["HDR metadata"] = (str(made.hdr), str(clip.hdr))
    if _meant_range(found_colour) == _meant_range(colour):
        del pairs["colour range"]
    return [
        f"{what} is {found}, expected {expected}"
        for what, (found, expected) in pairs.items()
        if found != expected
    ]


def _meant_range(colour: Colour) -> int:
    """Return the code of a range: its tag or, if it is untagged, the code of the assumed range."""
    return colour.range or (1 if colour.used_range == "limited" else 2)


def _time_differences(
    clip: Clip, index: FrameIndex, made: Clip, made_index: FrameIndex
) -> list[str]:
    if len(made_index.pts) != len(index.pts):
        return [f"it has {_count(len(made_index.pts), 'frame')}, expected {len(index.pts)}"]
    exact = (clip.time_base / made.time_base).denominator == 1
    tolerance = Fraction(0) if exact else made.time_base / 2
    off = [
        (wanted, got)
        for wanted, got in zip(index.pts, made_index.pts, strict=True)
        if abs(wanted * clip.time_base - got * made.time_base) > tolerance
    ]
    found = []
    if off:
        wanted, got = off[0]
        found.append(
            f"it has {_count(len(off), 'frame')} at other times than expected, the first at "
            f"{got * made.time_base} s instead of {wanted * clip.time_base} s"
        )
    end, made_end = index.end_pts * clip.time_base, made_index.end_pts * made.time_base
    # half a tick for the start of the last frame, and one for its duration, which is rounded down
    allowed = 3 * tolerance
    if isinstance(made, VideoClip) and made.container in _WITHOUT_DURATIONS:
        # the demuxer derives the last duration from the frame rate
        ticks = (
            index.pts[-1] - index.pts[-2] if len(index.pts) > 1 else index.end_pts - index.pts[0]
        )
        allowed = max(allowed, ticks * clip.time_base)
    elif isinstance(made, VideoClip) and _USUAL_DURATIONS in made.container:
        allowed = max(allowed, made.time_base)
    if abs(end - made_end) > allowed:
        found.append(f"it ends at {float(made_end):.6f} s, expected {float(end):.6f} s")
    return found


def _stream_differences(clip: VideoClip, index: FrameIndex, made: VideoClip) -> list[str]:
    muxer = choose_muxer(clip, Path(made.path))
    kept, _ = split_streams(clip, muxer)
    window = _window(clip, index)
    # input and output are not open at once, as the index of an hour-long MP4 takes 20 MB or more
    with open_container(clip.path) as source:
        promised = len(select_chapters(source, window))
        wanted = _digests(source, kept, window)
    with open_container(made.path) as output:
        held = len(output.chapters())
        if promised != held:
            return [f"it has {_count(held, 'chapter')}, expected {promised}"]
        others = [s.index for s in output.streams if s.type != "data" or muxer == "mpegts"]
        others.remove(made.stream_index)
        got = _digests(output, others, TimeWindow())
    if len(got) != len(wanted) or not all(
        _alike(made_kind, kind, muxer)
        for (_, made_kind, _), (_, kind, _) in zip(got, wanted, strict=True)
    ):
        listed = ", ".join(" ".join(kind) for _, kind, _ in got) or "none"
        expected = ", ".join(" ".join(kind) for _, kind, _ in wanted) or "none"
        return [f"its other streams are {listed}; expected {expected}"]

    forms = list_text_forms(clip, muxer)
    different = [
        f"the packets of {' '.join(kind)} (stream {number}) differ from the input's"
        for (number, kind, digest), (_, _, other) in zip(wanted, got, strict=True)
        if number not in forms and digest != other
    ]
    for (number, kind, _), (made_number, _, _) in zip(wanted, got, strict=True):
        if number in forms:
            with open_container(clip.path) as source:
                promised_text = _convert_text(source, number, forms[number], window)
            with open_container(made.path) as output:
                text = _read_text(output, made_number)
            if not _same_text(text, promised_text):
                different.append(
                    f"the text of {' '.join(kind)} (stream {number}) differs from the input's"
                )
    return different


def _convert_text(
    container: InputContainer, index: int, form: str, window: TimeWindow
) -> list[Cue]:
    """Return the subtitles in a stream of the input, converted to the codec `form`."""
    stream = container.streams[index]
    packets = select_packets(container, [stream], window)
    return list(convert_packets(packets, stream, make_encoder(form)))


def _read_text(container: InputContainer, index: int) -> list[Cue]:
    """Return the subtitles in a stream of the output, without the empty ones that MP4 adds."""
    cues = []
    for packet in select_packets(container, [container.streams[index]], TimeWindow()):
        if packet.pts is not None and bytes(packet) != _EMPTY_SUBTITLE:
            start = packet.pts * packet.time_base
            end = start + (packet.duration or 0) * packet.time_base
            cues.append(Cue(start, end, bytes(packet)))
    return cues


def _same_text(made: list[Cue], promised: list[Cue]) -> bool:
    """Return whether subtitles have the same text, and times that differ only by rounding."""
    return len(made) == len(promised) and all(
        a.data == b.data
        and abs(a.start - b.start) <= _TEXT_TICK
        and abs(a.end - b.end) <= 2 * _TEXT_TICK
        for a, b in zip(made, promised, strict=True)
    )


def _alike(made: tuple[str, str], kind: tuple[str, str], muxer: str) -> bool:
    """Return whether a copied stream has the (type, language) that the muxer writes for `kind`."""
    return made[0] == kind[0] and same_language(made[1], muxer_language(muxer, kind[1]))


def _window(clip: Clip, index: FrameIndex) -> TimeWindow:
    whole = scan(clip)
    if (index.pts[0], index.end_pts) == (whole.pts[0], whole.end_pts):
        return TimeWindow()
    return TimeWindow(index.pts[0] * clip.time_base, index.end_pts * clip.time_base)


def _digests(
    container: InputContainer, indices: list[int], window: TimeWindow
) -> list[tuple[int, tuple[str, str], str]]:
    """Return the index, the (type, language) and the SHA-256 digest of each stream.

    The digest covers all packets in the window or, for an attachment, its data. Audio streams
    without a packet in the window are left out, because MP4 does not list empty tracks.
    """
    streams = [container.streams[index] for index in indices]
    digests = {stream.index: hashlib.sha256() for stream in streams}
    silent = {stream.index for stream in streams if stream.type == "audio"}
    for stream in streams:
        if stream.type == "attachment":
            digests[stream.index].update(getattr(stream, "data", b""))
    carried = [stream for stream in streams if stream.type != "attachment"]
    for packet in select_packets(container, carried, window):
        data = bytes(packet)
        silent.discard(packet.stream_index)
        if container.format.name == "mpegts":
            data = _convert_from_transport_stream(codec_name(packet.stream), data)
        # MP4's muxer fills the time between subtitles with empty ones
        if packet.stream.type != "subtitle" or data != _EMPTY_SUBTITLE:
            digests[packet.stream_index].update(data)
    return [
        (
            stream.index,
            (stream.type, stream.metadata.get("language") or UNKNOWN_LANGUAGE),
            digests[stream.index].hexdigest(),
        )
        for stream in streams
        if stream.index not in silent
    ]


def _convert_from_transport_stream(codec: str, data: bytes) -> bytes:
    """Return a transport stream's packet in the form in which other containers store it."""
    if codec == "aac":
        return _without_adts(data)
    return _with_lengths(data) if codec in ("h264", "hevc") else data


def _without_adts(data: bytes) -> bytes:
    """Return an AAC frame without the ADTS header of transport streams.

    The header begins with 12 sync bits and has layer 0 (ISO/IEC 14496-3, 1.A.2); a checksum makes
    it two bytes longer.
    """
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return data
    return data[7:] if data[1] & 1 else data[9:]


def _with_lengths(data: bytes) -> bytes:
    """Return NAL units with four-byte lengths (ISO/IEC 14496-15) instead of start codes.

    A start code is the bytes 00 00 01, which another zero byte may precede (ITU-T H.264, annex B).
    Other zero bytes remain, as they do in FFmpeg's muxers.
    """
    units = data.split(b"\0\0\1")[1:]
    units[:-1] = [unit.removesuffix(b"\0") for unit in units[:-1]]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def _still_differences(
    clip: Stills, index: FrameIndex, out: Path, width: int, height: int
) -> list[str]:
    names = name_stills(clip)
    files = [out / names[pts] for pts in index.pts] if out.is_dir() else [out]
    if out.is_dir() and not any(file.exists() for file in files):
        files = stills.list_pictures(str(out))  # the pictures were renumbered in the same order
    found = []
    for file in files:
        try:
            header = stills.read_header(file)[:3]
        except (MediaError, OSError) as error:
            found.append(f"{file.name} cannot be read back: {error}")
            continue
        if clip.alpha and not transparent.has_alpha(str(file)):
            found.append(f"{file.name} is opaque, expected the transparency of the input")
        if header != (width, height, clip.bit_depth):
            found.append(
                f"{file.name} is {header[0]}x{header[1]} with {header[2]} bits, expected "
                f"{width}x{height} with {clip.bit_depth} bits"
            )
    if len(files) != len(index.pts):
        found.append(f"it has {_count(len(files), 'picture')}, expected {len(index.pts)}")
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
