"""Select the streams and packets of the input that an output container supports."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import InputError
from pipeline.media.container import MEDIA_ERRORS, demux_packets, is_cover, open_container
from pipeline.media.subtitles import find_text_form
from pipeline.schema.clip import StreamInfo, VideoClip

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in PyAV's stubs

EXACT_MUXERS = frozenset({"mp4", "mov", "ipod"})
MATROSKA_MUXERS = frozenset({"matroska", "webm"})
_MUXERS = {
    ".mp4": "mp4",
    ".m4v": "ipod",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
}
# Codec of QuickTime's text track of chapter titles, which the muxer generates itself.
_REMADE = frozenset({"bin_data"})
# Muxers that generate a timecode from the video's metadata.
_TIMECODED = EXACT_MUXERS | MATROSKA_MUXERS


@dataclass(frozen=True)
class TimeWindow:
    """The part of the input that an output covers, in seconds; by default all of it."""

    start: Fraction | None = None
    end: Fraction | None = None

    def holds(self, packet: Packet[Any]) -> bool:
        """Return whether a packet's time is in the window, or unknown."""
        ticks = packet.pts if packet.pts is not None else packet.dts
        if self.start is None or self.end is None or ticks is None:
            return True
        return self.start <= ticks * packet.time_base < self.end


def choose_muxer(clip: VideoClip, out: Path) -> str:
    """Return FFmpeg's name for the muxer that an output's suffix selects.

    Raises InputError if the suffix is not supported for this input.
    """
    muxers = dict(_MUXERS)
    if clip.container != "mpegts":
        # audio from other containers would be altered, and transport streams store no rotation
        del muxers[".ts"]
    muxer = muxers.get(out.suffix.lower())
    if muxer is None:
        raise InputError(
            f"{out.name} has the suffix {out.suffix!r}; expected one of "
            f"{', '.join(sorted(muxers))}; try .mkv"
        )
    return muxer


def can_hold(muxer: str, encoder: str) -> bool:
    """Return whether a muxer's container supports video from an encoder."""
    if muxer == "mov" and encoder.startswith("libvpx"):
        return False  # the muxer would accept it, but fail at the header
    with io.BytesIO() as nowhere:
        container = av.open(nowhere, "w", format=muxer)
        try:
            container.add_stream(encoder, rate=25)
        except ValueError:
            return False
    return True


def add_copied_stream(container: OutputContainer, muxer: str, stream: Stream) -> Stream | None:
    """Add a stream for packets copied from `stream`; return None if `muxer` rejects it."""
    if stream.type == "attachment" and muxer != "matroska":
        return None
    if stream.type == "data" and muxer != "mpegts":
        return None
    if is_cover(stream) and muxer == "mov":
        return None  # the muxer accepts it, but writes nothing
    try:
        copy = container.add_stream_from_template(stream, opaque=True)
    except MEDIA_ERRORS:
        return None
    if isinstance(copy, AudioStream) and muxer in EXACT_MUXERS:
        _name_layout(copy)
    _describe_copy(copy, muxer, stream)
    return copy


def add_text_stream(container: OutputContainer, muxer: str, stream: Stream, form: str) -> Stream:
    """Add a stream for the subtitles of `stream`, which are converted to the codec `form`."""
    copy = container.add_stream(form)
    copy.time_base = stream.time_base
    _describe_copy(copy, muxer, stream)
    return copy


def _describe_copy(copy: Stream, muxer: str, stream: Stream) -> None:
    copy.metadata.update(stream.metadata)
    language = stream.metadata.get("language")
    if language:
        copy.metadata["language"] = muxer_language(muxer, language)
    copy.disposition = stream.disposition


def _name_layout(copy: AudioStream) -> None:
    """Set the layout of a mono or stereo stream that states only its number of channels.

    AVI stores only the number of channels, but MP4 needs the name of the layout.
    """
    context = copy.codec_context
    names = {"1 channels": "mono", "2 channels": "stereo"}
    if context.layout.name in names:
        context.layout = names[context.layout.name]


def list_text_forms(clip: VideoClip, muxer: str) -> dict[int, str]:
    """Return the text streams that must be converted for a muxer: stream index -> new codec."""
    forms: dict[int, str] = {}
    texts = [info.index for info in clip.other_streams if info.type == "subtitle"]
    if not texts:
        return forms
    with open_container(clip.path) as source:
        for index in texts:
            form = find_text_form(muxer, source.streams[index])
            if form is not None and not _takes(muxer, source.streams[index]):
                forms[index] = form
    return forms


def split_streams(clip: VideoClip, muxer: str) -> tuple[list[int], list[StreamInfo]]:
    """Return the indices of the other streams that the output keeps, and the streams it loses.

    Text subtitles that can be converted are kept. Tracks that the muxer generates itself, such as
    chapters and timecodes, are in neither list. Raises MediaError if the input cannot be read.
    """
    kept: list[int] = []
    lost: list[StreamInfo] = []
    if not clip.other_streams:
        return kept, lost

    with open_container(clip.path) as source:
        for info in clip.other_streams:
            stream = source.streams[info.index]
            if info.codec in _REMADE and clip.chapters:
                continue
            if stream.type == "data" and "timecode" in stream.metadata and muxer in _TIMECODED:
                continue
            if find_text_form(muxer, stream) is not None or (
                _takes(muxer, stream)
                and not (
                    muxer in EXACT_MUXERS
                    and clip.container == "asf"
                    and _shares_times(source, stream, clip.path)
                )
            ):
                kept.append(info.index)
            else:
                lost.append(info)
    return kept, lost


def _shares_times(source: InputContainer, stream: Stream, path: str) -> bool:
    """Return whether two packets of an audio stream have the same time, which MP4 does not allow.

    ASF gives all packets in a payload the time of the last one. Raises MediaError if the input
    cannot be read to its end.
    """
    if stream.type != "audio":
        return False

    source.seek(0)
    times: set[int] = set()
    for packet in demux_packets(source, stream, path):
        if packet.size and packet.dts is not None:
            if packet.dts in times:
                return True
            times.add(packet.dts)
    return False


def _takes(muxer: str, stream: Stream) -> bool:
    # some muxers accept any codec until they write the header
    with io.BytesIO() as nowhere, av.open(nowhere, "w", format=muxer) as scratch:
        if add_copied_stream(scratch, muxer, stream) is None:
            return False
        try:
            scratch.start_encoding()
        except MEDIA_ERRORS:
            return False
        return True


def select_packets(
    container: InputContainer, streams: list[Stream], window: TimeWindow
) -> Iterator[Packet[Any]]:
    """Yield the packets of `streams` that are in the window, in file order.

    Raises MediaError if the container cannot be read to its end.
    """
    if not streams:
        return
    for packet in demux_packets(container, streams, container.name):
        flushing = packet.size == 0 and packet.dts is None and packet.pts is None
        if not flushing and window.holds(packet):
            yield packet


def fill_durations(copied: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Yield the packets, after setting the missing durations of audio packets.

    An audio packet without a duration gets the time since the previous packet. If the last duration
    stayed unknown, an MP4 track would end where its last packet starts, and demuxers would drop
    that packet.
    """
    times: dict[int, int] = {}
    for packet in copied:
        if packet.stream.type == "audio" and packet.dts is not None:
            before = times.get(packet.stream_index, packet.dts)
            packet.duration = packet.duration or max(1, packet.dts - before)
            times[packet.stream_index] = packet.dts
        yield packet


def select_chapters(container: InputContainer, window: TimeWindow) -> list[Chapter]:
    """Return the chapters that overlap the window."""
    found = []
    for chapter in container.chapters():
        base = chapter["time_base"] or Fraction(1)
        starts = window.end is None or chapter["start"] * base < window.end
        if starts and (window.start is None or chapter["end"] * base > window.start):
            found.append(chapter)
    return found


UNKNOWN_LANGUAGE = "und"

# Code of ISO 639-2 -> the code that FFmpeg's QuickTime muxer writes for the same language.
_BIBLIOGRAPHIC = {
    "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi",
    "fas": "per", "eus": "baq", "mkd": "mac", "msa": "may", "mya": "bur", "hye": "arm",
    "sqi": "alb", "kat": "geo", "cze": "ces", "slo": "slk", "rum": "ron",
}  # fmt: skip


# fmt: off
_QUICKTIME = frozenset(_BIBLIOGRAPHIC.values()) | {
    "eng", "fra", "ita", "spa", "dan", "por", "nor", "heb", "jpn", "ara",
    "fin", "mlt", "tur", "urd", "hin", "tha", "kor", "lit", "pol", "hun",
    "est", "lav", "rus", "slv", "bul", "ukr", "cat", "vie", "ind", "tgl",
}
# fmt: on


def muxer_language(muxer: str, language: str) -> str:
    """Return the code that a muxer writes for a language, or `und` if it has no code for it."""
    if language in ("", UNKNOWN_LANGUAGE):
        return language
    if muxer in EXACT_MUXERS - {"mov"} and re.fullmatch("[a-z]{3}", language) is None:
        return UNKNOWN_LANGUAGE  # MP4 packs three letters into a number
    if muxer != "mov":
        return language
    known = _BIBLIOGRAPHIC.get(language, language)
    return known if known in _QUICKTIME else UNKNOWN_LANGUAGE


def same_language(one: str, other: str) -> bool:
    """Return whether two codes mean the same language; "" and `und` both mean an unknown one."""
    a, b = (_BIBLIOGRAPHIC.get(code, code) or UNKNOWN_LANGUAGE for code in (one, other))
    return a == b
