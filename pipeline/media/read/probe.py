"""Describe a recording (`probe`), and list the times of its frames (`scan`)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from av.video.stream import VideoStream

from pipeline.errors import MediaError
from pipeline.media.alpha import has_alpha, stored_pix_fmt
from pipeline.media.chroma import find_chroma_location
from pipeline.media.colour import describe_colour
from pipeline.media.container import (
    UNTIMED_FORMATS,
    check_size,
    choose_video,
    codec_name,
    decode_first_frame,
    open_container,
)
from pipeline.media.hdr import read_static_hdr
from pipeline.media.pictures import numbered, stills, transparent
from pipeline.media.pictures.open_picture import is_picture_container
from pipeline.media.read.frame_times import index_frames
from pipeline.media.read.identity import fingerprint
from pipeline.media.sandbox.parent import probe_in_child, sandboxed
from pipeline.paths import refuse_special
from pipeline.schema.clip import Clip, FrameIndex, Stills, StreamInfo, VideoClip

_DEFAULT_RATE = Fraction(25)
# Formats without a frame rate of their own; the video in them may state one.
_WITHOUT_RATE = UNTIMED_FORMATS | {"obu"}


def probe(path: str, *, sandbox: bool = False) -> Clip:
    """Describe a video file, a picture, a folder of pictures or a pattern.

    A pattern is a glob, or has a number as in `frames/%04d.png`. With `sandbox`, confined child
    processes describe the recording now and decode it later. Raises MediaError if there is no such
    recording or it cannot be read, and InputError if it is a pipe, a socket or a device.
    """
    refuse_special(path)
    if sandbox:
        return _check_files(probe_in_child(path))
    given = Path(path)
    if given.is_dir() or stills.is_pattern(path):
        return _probe_stills(path)
    if not given.exists():
        raise MediaError(
            f"{path} does not exist; expected a video, a picture or a folder; check the path"
        )
    if given.suffix.lower() in stills.SUFFIXES or is_picture_container(given):
        return _probe_stills(path)
    return probe_video(path)


def _check_files(clip: Clip) -> Clip:
    """Return a clip that a child described, after checking all of its files.

    Raises MediaError if the clip lists a file that its path does not cover. A crafted recording may
    have taken over the child, which must not choose the files that are opened later.
    """
    allowed = set()
    if isinstance(clip, Stills):
        allowed = {str(file) for file in stills.list_pictures(clip.path)}
    if foreign := sorted(set(clip.files) - allowed):
        raise MediaError(
            f"{clip.path} made its decoder list another file, {foreign[0]}, and may be malicious; "
            "do not open it with other programs"
        )
    return clip


def _probe_stills(path: str) -> Stills:
    files = stills.list_pictures(path)
    headers = [stills.read_header(file) for file in files]
    width, height, bits, _ = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header[:3] != (width, height, bits):
            # perhaps pictures of one series were enlarged by different factors
            advice = "enlarge all by the same factor, or " if header[2] == bits else ""
            raise MediaError(
                f"{file} is {header[0]}x{header[1]} with {header[2]} bits, but {files[0].name} is "
                f"{width}x{height} with {bits} bits; expected one size and bit depth; "
                f"{advice}move {file.name} elsewhere"
            )
    pix_fmt = "rgb48le" if bits == 16 else "rgb24"
    return Stills(
        path=path,
        files=tuple(str(file) for file in files),
        times=numbered.sequence_times(files)
        or stills.picture_times(files, [header[3] for header in headers]),
        codec=files[0].suffix.lower().lstrip("."),
        pix_fmt=pix_fmt,
        alpha=any(transparent.has_alpha(str(file)) for file in files),
        bit_depth=bits,
        width=width,
        height=height,
        time_base=1 / _DEFAULT_RATE,
        frame_rate=_DEFAULT_RATE,
        duration_pts=len(files),
        colour=describe_colour(pix_fmt, width, height),
        size_bytes=sum(file.stat().st_size for file in files),
        fingerprint=fingerprint(files),
    )


def probe_video(path: str) -> VideoClip:
    """Describe the video stream of a file; raises MediaError if none can be decoded."""
    with open_container(path) as container:
        stream = choose_video(container, path)
        context = stream.codec_context
        check_size(context.width, context.height, path)
        frame = decode_first_frame(container, stream, path)
        pix_fmt = stored_pix_fmt(stream, context.pix_fmt or frame.format.name)
        frame_rate = _find_frame_rate(stream, container.format.name)
        time_base = stream.time_base
        is_untimed = container.format.name in UNTIMED_FORMATS
        if is_untimed:
            time_base = 1 / (frame_rate or _DEFAULT_RATE)
        assert time_base is not None
        width, height = context.width, context.height
        return VideoClip(
            path=path,
            container=container.format.name,
            stream_index=stream.index,
            codec=codec_name(stream),
            pix_fmt=pix_fmt,
            alpha=has_alpha(pix_fmt),
            bit_depth=max(component.bits for component in frame.format.components),
            width=width,
            height=height,
            rotation=round(frame.rotation),
            sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
            time_base=time_base,
            frame_rate=frame_rate,
            duration_pts=None if is_untimed else stream.duration,
            colour=describe_colour(
                pix_fmt,
                width,
                height,
                codec=codec_name(stream),
                matrix=int(context.colorspace),
                colour_range=int(context.color_range),
                primaries=int(context.color_primaries),
                transfer=int(context.color_trc),
                chroma=find_chroma_location(stream, pix_fmt),
            ),
            hdr=read_static_hdr(frame),
            interlaced=frame.interlaced_frame,
            other_streams=tuple(
                StreamInfo(
                    index=other.index,
                    type=other.type,
                    codec=codec_name(other),
                    language=other.metadata.get("language", ""),
                )
                for other in container.streams
                if other.index != stream.index
            ),
            chapters=len(container.chapters()),
            size_bytes=Path(path).stat().st_size,
            fingerprint=fingerprint([Path(path)]),
        )


def _find_frame_rate(stream: VideoStream, container: str) -> Fraction | None:
    """Return the frames per second of a stream, or None if it does not state them."""
    if container in _WITHOUT_RATE and not stream.codec_context.framerate:
        return None  # the demuxer assumes 25
    # here, average_rate is only the demuxer's assumption, whatever the stream states
    if container in _WITHOUT_RATE or container == "dv":
        return stream.guessed_rate
    return stream.average_rate or stream.guessed_rate


def is_rate_assumed(clip: VideoClip) -> bool:
    """Return whether a video's times are based on an assumed rate of 25 frames per second."""
    return clip.frame_rate is None and clip.container in _WITHOUT_RATE


@sandboxed
def scan(clip: Clip, *, distinct: bool = True) -> FrameIndex:
    """Return the presentation times of all frames of a clip, in ticks.

    For pictures, the times are 0, 1, 2 and so on. Raises MediaError if a video is truncated or has
    no frames, if its times go backwards or, with `distinct`, if two frames have the same time.
    Without `distinct`, such frames count as one.
    """
    if isinstance(clip, Stills) or clip.is_film:
        count = len(clip.files)
        return FrameIndex(pts=range(count), keys=range(count), end_pts=count)
    return index_frames(clip, distinct=distinct)
