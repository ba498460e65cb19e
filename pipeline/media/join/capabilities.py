"""Check what an output's container and codec support, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.codec.codec import Codec
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import InputError
from pipeline.media.alpha import ALPHA_ENCODERS, BESIDE_PACKETS, keeps_alpha
from pipeline.media.colour import describe_colour
from pipeline.media.container import decode_first_frame, open_container
from pipeline.media.hdr import HDR_ENCODERS, has_dynamic_hdr, has_unknown_side_data
from pipeline.media.pictures import stills
from pipeline.media.sandbox.parent import sandboxed
from pipeline.media.streams import (
    EXACT_MUXERS,
    MATROSKA_MUXERS,
    can_hold,
    choose_muxer,
    list_text_forms,
    muxer_language,
    same_language,
    split_streams,
)
from pipeline.schema.clip import Clip, Stills, VideoClip
from pipeline.schema.encoding import Encoding

# Encoders that store the sample aspect ratio in their bitstream. PyAV does not store it anywhere
# else in Matroska and NUT.
_STORE_ASPECT = frozenset({"libx264", "libx264rgb", "libx265", "h264_nvenc", "hevc_nvenc", "mpeg4"})

# Suffix of a picture -> its largest bit depth, and whether it can be transparent.
_PICTURES = {
    ".png": (16, True), ".tif": (16, True), ".tiff": (16, True), ".webp": (8, True),
    ".jpg": (8, False), ".jpeg": (8, False), ".bmp": (8, False), ".ppm": (16, False),
}  # fmt: skip
# Suffixes of videos, which users may choose for an output of pictures by mistake.
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".264", ".265", ".apng", ".asf", ".av1", ".avi", ".divx", ".dv", ".f4v", ".flv",
    ".gif", ".h264", ".h265", ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".obu", ".ogg", ".ogv", ".qt", ".rm", ".rmvb",
    ".ts", ".vob", ".webm", ".wmv", ".y4m", ".yuv",
})  # fmt: skip
# Muxer -> the step of its times in seconds; other muxers store the input's times exactly.
_TICKS = {
    "matroska": Fraction(1, 1000),
    "webm": Fraction(1, 1000),
    "mpegts": Fraction(1, 90000),
}
# Subsampling -> chroma samples per pixel.
_CHROMA = {"4:4:4": Fraction(1), "4:2:2": Fraction(1, 2), "4:2:0": Fraction(1, 4)}
# Encoder -> its codec, for the codecs that common players support.
_PLAYED = {"libx264": "H.264", "libx265": "H.265"}
_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})


def default_output_path(clip: Clip, mark: str, encoding: Encoding) -> Path:
    """Return the path `<stem>_<mark>` beside the input, with a suffix that suits the output.

    A video keeps the input's suffix, or gets .mkv if that container does not support the encoder. A
    single picture gets .png. For a folder or a pattern of pictures, the output is a folder.
    """
    given = Path(clip.path)
    if isinstance(clip, Stills):
        if given.is_file():
            return given.with_name(f"{given.stem}_{mark}.png")
        folder = given if given.is_dir() else Path(clip.files[0]).parent
        folder = folder.resolve()
        return folder.with_name(f"{folder.name}_{mark}")
    suffix = given.suffix.lower()
    try:
        held = can_hold(choose_muxer(clip, given), encoding.codec)
    except InputError:
        held = False
    if not held:
        suffix = ".mkv"
    return given.with_name(f"{given.stem}_{mark}{suffix}")


def check_container(clip: Clip, out_path: Path, encoding: Encoding) -> None:
    """Raise InputError if the encoder's output cannot be stored at `out_path`.

    The container of a video must support the encoder's packets, the clip's pixel aspect ratio and,
    if the encoder preserves it, its transparency. For pictures, `out_path` must have a suitable
    name and format.
    """
    if isinstance(clip, Stills):
        _check_picture(clip, out_path)
        return
    muxer = choose_muxer(clip, out_path)
    if not can_hold(muxer, encoding.codec):
        raise InputError(
            f"{out_path.suffix} files cannot hold {encoding.codec} video; try .mkv, or another "
            "--codec"
        )
    beside = encoding.codec in BESIDE_PACKETS and keeps_alpha(encoding.codec, encoding.pix_fmt)
    if clip.alpha and beside and muxer not in MATROSKA_MUXERS:
        raise InputError(
            f"{out_path.suffix} files cannot hold the transparency of {encoding.codec}; try .webm "
            "or .mkv, --codec prores with .mov, or --codec libx264, which drops transparency"
        )
    # for ProRes, the container stores the aspect ratio
    keeps_aspect = encoding.codec in _STORE_ASPECT or (
        encoding.codec == "prores_ks" and muxer in EXACT_MUXERS
    )
    if clip.sample_aspect_ratio != 1 and not keeps_aspect:
        raise InputError(
            f"{encoding.codec} in {out_path.suffix} cannot store the pixel aspect ratio "
            f"{clip.sample_aspect_ratio}; expected one of the encoders "
            f"{', '.join(sorted(_STORE_ASPECT))}, or prores in .mov; try --codec libx264"
        )


def check_times(clip: Clip, pts: Sequence[int], out_path: Path) -> None:
    """Raise InputError if the output's container would round two frames to the same time.

    `pts` are the times of the output's frames, in ticks of the clip and in ascending order.
    """
    tick = None if isinstance(clip, Stills) else _TICKS.get(choose_muxer(clip, out_path))
    if tick is None or clip.time_base >= tick:
        return
    # rounded in the same way as the muxer does: halves away from zero, and no time is negative
    step = clip.time_base / tick
    rounded = (np.asarray(pts) * (2 * step.numerator) + step.denominator) // (2 * step.denominator)
    same = np.flatnonzero(np.diff(rounded) == 0)
    if len(same):
        first, second = (clip.seconds(pts[same[0] + more]) for more in (0, 1))
        raise InputError(
            f"the frames at {first:.6f} s and {second:.6f} s would get the same time, because "
            f"{out_path.suffix} stores times in steps of {float(tick) * 1000:g} ms; try "
            f"{out_path.with_suffix('.mp4').name}"
        )


@sandboxed
def container_notes(clip: Clip, out_path: Path, encoding: Encoding) -> list[str]:
    """Return notes on what the encoder and the output's container lose or round."""
    if isinstance(clip, Stills):
        return [*_alpha_notes(clip, encoding), *still_notes(clip, out_path)]
    muxer = choose_muxer(clip, out_path)
    tick = _TICKS.get(muxer)
    notes = picture_notes(clip, encoding)
    if tick is not None and (clip.time_base / tick).denominator != 1:
        notes.append(
            f"{out_path.suffix} stores times in steps of {float(tick) * 1000:g} ms; "
            "frame times are rounded to the nearest step"
        )
    kept, lost = split_streams(clip, muxer)
    for info in clip.other_streams:
        if info.index in kept and not same_language(
            muxer_language(muxer, info.language), info.language
        ):
            notes.append(
                f"{out_path.suffix} has no code for {info.language}, so the language of stream "
                f"{info.index} becomes unknown"
            )
    for info in clip.other_streams:
        if info.index in kept and muxer == "mp4" and info.codec.startswith("pcm_"):
            notes.append(
                f"stream {info.index} is {info.codec}, which few players support in "
                f"{out_path.suffix}; try .mov or .mkv"
            )
    forms = list_text_forms(clip, muxer)
    for info in clip.other_streams:
        if info.index in forms:
            language = f" ({info.language})" if info.language else ""
            notes.append(
                f"stream {info.index}, {info.type} {info.codec}{language}, becomes "
                f"{forms[info.index]}, as {out_path.suffix} cannot hold {info.codec}; bold, italic "
                "and underlined text is kept, other styles and positions are dropped"
            )
    for info in lost:
        language = f" ({info.language})" if info.language else ""
        notes.append(
            f"stream {info.index}, {info.type} {info.codec}{language}, is dropped, because "
            f"{out_path.suffix} cannot hold it"
        )
    return notes


def picture_notes(clip: VideoClip, encoding: Encoding) -> list[str]:
    """Return notes on what the frames lose and how they change, whatever the container."""
    notes: list[str] = []
    notes += _alpha_notes(clip, encoding)
    notes += _chroma_notes(clip, encoding)
    if clip.is_film:
        return notes

    frame = read_first_frame(clip)
    if clip.deinterlace != "off":
        notes.append(
            f"the video is interlaced{'' if clip.interlaced else ' (without being tagged)'} and is "
            "deinterlaced by bwdif, at the same frame rate; try --deinterlace off to prevent it"
        )
    elif frame.interlaced_frame:
        notes.append("the video is interlaced, but is enhanced as if it were progressive")
    if clip.hdr is not None and encoding.codec not in HDR_ENCODERS:
        notes.append(
            f"{encoding.codec} does not write the mastering display and content light level, only "
            "the colour tags; try --codec libx265 to keep them"
        )
    if has_dynamic_hdr(frame):
        notes.append("dynamic HDR metadata (Dolby Vision, HDR10+) is dropped; PQ or HLG is kept")
    if has_unknown_side_data(frame):
        notes.append("side data of an unknown kind (such as EXIF) is dropped")
    return notes


def colour_notes(clip: Clip, width: int, height: int) -> list[str]:
    """Return a note if players will assume another colour matrix for the output than for the input.

    The output of an untagged video is untagged, too, and players assume BT.709 for sizes of
    1280x720 and above. The list is empty if there is nothing to note.
    """
    guessed = describe_colour(clip.pix_fmt, width, height, matrix=clip.colour.matrix)
    if not isinstance(clip, VideoClip) or guessed.used_matrix == clip.colour.used_matrix:
        return []
    return [
        f"the colours are untagged and remain {clip.colour.used_matrix}, but at {width}x{height} "
        f"players assume {guessed.used_matrix}; tag the input first, for example with ffmpeg -i IN "
        "-c copy -bsf:v h264_metadata=matrix_coefficients=6 TAGGED"
    ]


def _chroma_notes(clip: VideoClip, encoding: Encoding) -> list[str]:
    """Return a note if chroma resolution is lost, or if few players support the subsampling."""
    made = _find_chroma(encoding.pix_fmt)
    rgb = clip.colour.used_matrix == "rgb"
    given = "4:4:4" if rgb else _find_chroma(clip.pix_fmt)
    if made is None or given is None:
        return []

    if _CHROMA[made] < _CHROMA[given]:
        why = ", which browsers and phones play," if encoding.codec in _PLAYED else ""
        note = f"the colours are stored in {made}{why} instead of {'RGB' if rgb else given}"
        if rgb:
            return [f"{note}; try an output in .mkv to keep RGB"]
        keep = encoding.pix_fmt.replace(made.replace(":", ""), given.replace(":", ""))
        formats = [form.name for form in Codec(encoding.codec, "w").video_formats or ()]
        # the names of semi-planar formats, such as nv12, do not state the subsampling
        keeps = keep != encoding.pix_fmt and keep in formats
        return [f"{note}; try --pix-fmt {keep} to keep {given}" if keeps else note]

    if encoding.codec in _PLAYED and made != "4:2:0":
        return [
            f"few browsers and phones play {_PLAYED[encoding.codec]} in {made}; for a copy that "
            f"they play, try --pix-fmt {encoding.pix_fmt.replace(made.replace(':', ''), '420')}"
        ]
    return []


def _find_chroma(pix_fmt: str) -> str | None:
    """Return the subsampling of a pixel format, such as `4:2:0`; None for grey and unusual ones."""
    form = VideoFormat(pix_fmt)
    if form.is_rgb or form.has_palette:
        return "4:4:4"
    if len(form.components) < 3:
        return None
    share = Fraction(form.chroma_width(16) * form.chroma_height(16), 256)
    return next((name for name, part in _CHROMA.items() if part == share), None)


def _alpha_notes(clip: Clip, encoding: Encoding) -> list[str]:
    if not clip.alpha:
        return []
    if keeps_alpha(encoding.codec, encoding.pix_fmt):
        how = f" as {encoding.codec} {encoding.pix_fmt}" if isinstance(clip, VideoClip) else ""
        return [f"transparency is kept{how}, but upsampled without the reference"]
    others = ", or ffv1 with .mkv" if clip.sample_aspect_ratio == 1 else ""
    return [
        f"transparency is dropped: {encoding.codec} {encoding.pix_fmt} is opaque; expected one of "
        f"{', '.join(ALPHA_ENCODERS)}; try --codec prores with .mov{others}"
    ]


def _check_picture(clip: Clip, out: Path) -> None:
    """Raise InputError if pictures cannot be written to `out`.

    The suffix must not belong to a video or, if there are several pictures, to a picture. The
    format of a single picture must support its bit depth and transparency.
    """
    suffix = out.suffix.lower()
    count = len(clip.files)
    if suffix in VIDEO_SUFFIXES:
        shown = Path(out.name) if out.parent == Path.cwd() else out
        raise InputError(
            f"{out.name} is the name of a video, but the input is one picture; "
            f"try -o {shown.with_suffix('.png')}"
        )
    if count > 1 and suffix in _PICTURES and not out.is_dir():
        raise InputError(
            f"{out.name} is the name of one picture, but the input has {count} pictures; name a "
            f"folder instead: try -o {out.with_suffix('').name}"
        )
    if not Path(clip.path).is_file() or not out.suffix:
        return
    if suffix not in _PICTURES:
        raise InputError(
            f"pictures cannot be written as {out.suffix}; expected {', '.join(sorted(_PICTURES))}; "
            f"try {out.with_suffix('.png').name}"
        )
    bits, alpha = _PICTURES[suffix]
    if clip.bit_depth > bits or (clip.alpha and not alpha):
        kind = f"{clip.bit_depth} bits{' and transparency' if clip.alpha else ''}"
        raise InputError(
            f"{out.suffix} cannot hold a picture with {kind}; expected .png or .tif; try "
            f"{out.with_suffix('.png').name}"
        )


def still_notes(clip: Stills, out: Path | None = None) -> list[str]:
    """Return notes on an input file with several pictures, and on a lossy output format."""
    notes = []
    for file in clip.files:
        if count := stills.count_pictures(file):
            notes.append(
                f"{Path(file).name} contains {count} pictures, but only the first is enhanced; "
                "rename an animated PNG to .apng to enhance all of its frames"
            )
            break
    if out is not None and out.suffix.lower() in _LOSSY and Path(clip.path).is_file():
        notes.append(f"{out.suffix} compression is lossy; try .png to lose nothing")
    return notes


def read_first_frame(clip: VideoClip) -> VideoFrame:
    """Return a clip's first decodable frame; raises MediaError if it has none."""
    with open_container(clip.path) as container:
        stream = container.streams[clip.stream_index]
        assert isinstance(stream, VideoStream)
        return decode_first_frame(container, stream, clip.path)
