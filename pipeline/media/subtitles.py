"""Convert text subtitles to another container's format with FFmpeg's decoders and encoders.

MP4 and QuickTime show only one subtitle at a time, so overlapping subtitles are split for them:
while several are visible, a single subtitle contains the lines of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from pipeline.media.container import MEDIA_ERRORS, codec_name

_TEXTS = frozenset({"mov_text", "subrip", "ass", "ssa", "webvtt", "text"})
# Muxer -> the codec to which text subtitles are converted for its container.
_FORMS = {
    "matroska": "subrip",
    "webm": "webvtt",
    "mp4": "mov_text",
    "ipod": "mov_text",
    "mov": "mov_text",
}
_ONE_AT_A_TIME = frozenset({"mov_text"})

_FIELDS = 8  # number of fields before the text in a line of ASS
_DRAWING = re.compile(rb"\{[^}]*\\p[1-9][^}]*\}[^{]*")  # vector graphics
_OVERRIDE = re.compile(rb"\{[^}]*\}")
_KEPT = re.compile(rb"\\(?:[ibu]\d*|r[^\\}]*)(?=[\\}])")  # italic, bold, underlined, reset
_BLANK = re.compile(rb"\\[Nnh]|\s")
_NO_TAG = re.compile(rb"<(?!/?[biu]>)")


@dataclass(frozen=True)
class Cue:
    """An encoded subtitle, with its times in seconds."""

    start: Fraction
    end: Fraction
    data: bytes


@dataclass(frozen=True)
class _Lines:
    """The text of a subtitle as ASS, with its times in seconds."""

    start: Fraction
    end: Fraction
    text: bytes


def find_text_form(muxer: str, stream: Stream) -> str | None:
    """Return the codec to which a text stream can be converted for a muxer; None if impossible."""
    if stream.type != "subtitle" or codec_name(stream) not in _TEXTS:
        return None
    # versions of PyAV before 17 cannot encode subtitles
    return _FORMS.get(muxer) if hasattr(SubtitleCodecContext, "encode_subtitle") else None


def make_encoder(form: str) -> SubtitleCodecContext:
    """Return a text subtitle encoder that does not belong to a container."""
    encoder = av.CodecContext.create(form, "w")
    assert isinstance(encoder, SubtitleCodecContext)
    return encoder


class TextConverter:
    """Converts the packets of one subtitle stream, which must arrive in order of their times."""

    def __init__(self, stream: Stream, encoder: SubtitleCodecContext) -> None:
        decoder = stream.codec_context
        assert isinstance(decoder, SubtitleCodecContext)
        decoder.open(strict=False)
        encoder.subtitle_header = decoder.subtitle_header

        self._decoder = decoder
        self._encoder = encoder
        self._form = encoder.name
        self._visible: list[_Lines] = []
        self._time = Fraction(0)

    def feed(self, packet: Packet[Any]) -> list[Cue]:
        """Convert a packet, and return the subtitles whose times are now final."""
        lines = self._decode(packet)
        if lines is None:
            return []
        if self._form not in _ONE_AT_A_TIME:
            return [self._encode(lines)]

        cues = self._advance(lines.start)
        self._time = max(self._time, lines.start)
        self._visible.append(lines)
        return cues

    def finish(self) -> list[Cue]:
        """Return the subtitles that are still visible after the last packet."""
        return self._advance(None)

    def _advance(self, until: Fraction | None) -> list[Cue]:
        """Return the subtitles from the current time to `until`, or to the end if that is None."""
        cues: list[Cue] = []
        while True:
            self._visible = [lines for lines in self._visible if lines.end > self._time]
            ends = [lines.end for lines in self._visible]
            if not ends:
                return cues

            end = min(ends) if until is None else min(*ends, until)
            if end <= self._time:
                return cues
            text = rb"\N".join(lines.text for lines in self._visible)
            cues.append(self._encode(_Lines(self._time, end, text)))
            self._time = end

    def _decode(self, packet: Packet[Any]) -> _Lines | None:
        """Return the text in a packet; None if it has none or is damaged."""
        if packet.pts is None:
            return None
        try:
            found = self._decoder.decode2(packet)
        except MEDIA_ERRORS:
            return None
        if found is None:
            return None

        texts = [_read_text(line) for line in found.rects if isinstance(line, AssSubtitle)]
        shown = [text for text in texts if _BLANK.sub(b"", _OVERRIDE.sub(b"", text))]
        if not shown:
            return None
        start = packet.pts * packet.time_base
        seconds = Fraction(found.end_display_time, 1000)
        if packet.duration:
            seconds = packet.duration * packet.time_base
        return _Lines(start, start + seconds, rb"\N".join(shown))

    def _encode(self, lines: _Lines) -> Cue:
        line = b"0,0,Default,,0,0,0,," + lines.text
        milliseconds = round((lines.end - lines.start) * 1000)
        data = bytes(self._encoder.encode_subtitle(SubtitleSet.create(line, 0, milliseconds)))
        if self._form == "webvtt":
            data = _NO_TAG.sub(b"&lt;", data.replace(b"&", b"&amp;"))
        return Cue(lines.start, lines.end, data)


def convert_packets(
    packets: Iterable[Packet[Any]], stream: Stream, encoder: SubtitleCodecContext
) -> Iterator[Cue]:
    """Yield the subtitles in the packets of `stream`, converted with `encoder`.

    This function opens the encoder.
    """
    converter = TextConverter(stream, encoder)
    encoder.time_base = Fraction(1, 1000)
    encoder.open(strict=False)
    for packet in packets:
        yield from converter.feed(packet)
    yield from converter.finish()


def move_packets(
    packets: Iterator[Packet[Any]],
    copies: Mapping[int, Stream],
    converters: Mapping[int, TextConverter],
) -> Iterator[Packet[Any]]:
    """Yield the packets for the output's streams, with subtitles converted if necessary.

    `copies` and `converters` map the indices of the input's streams to the output's streams and to
    the converters of text subtitles. Streams without a converter are copied unchanged.
    """
    bases: dict[int, Fraction] = {}
    for packet in packets:
        index = packet.stream_index
        if index not in converters:
            packet.stream = copies[index]
            yield packet
            continue
        bases[index] = packet.time_base
        for cue in converters[index].feed(packet):
            yield _make_packet(cue, copies[index], bases[index])

    for index, base in bases.items():
        for cue in converters[index].finish():
            yield _make_packet(cue, copies[index], base)


def _make_packet(cue: Cue, stream: Stream, time_base: Fraction) -> Packet[Any]:
    """Return a packet of `stream` with the times of `cue` in ticks of `time_base`."""
    packet: Packet[Any] = Packet(cue.data)
    packet.time_base = time_base
    packet.pts = packet.dts = round(cue.start / time_base)
    packet.duration = max(1, round(cue.end / time_base) - packet.pts)
    packet.stream = stream
    return packet


def _read_text(line: AssSubtitle) -> bytes:
    """Return the text in a line of ASS, without drawings or unsupported styles."""
    text = _DRAWING.sub(b"", line.ass.split(b",", _FIELDS)[-1])
    return _OVERRIDE.sub(_keep_styles, text)


def _keep_styles(override: re.Match[bytes]) -> bytes:
    kept = b"".join(_KEPT.findall(override[0]))
    return b"{" + kept + b"}" if kept else b""
