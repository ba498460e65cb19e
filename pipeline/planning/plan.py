"""The plan: everything a run does, decided before it starts, from the files and the arguments."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path

from deploy.protocol import ENGINES
from pipeline.errors import InputError, PairingError
from pipeline.lightfield.intermediate import Storage
from pipeline.lightfield.targets import (
    check_sheet_size,
    check_target,
    default_target,
    target_grid,
)
from pipeline.media.join import sequence
from pipeline.media.join.capabilities import (
    check_container,
    container_notes,
    default_output,
    guess_notes,
)
from pipeline.media.read.detect_interlacing import progressive
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import check_encoder, default_encoding
from pipeline.pairing.clips import plan_references
from pipeline.pairing.geometry import quarter_turns, turned_size
from pipeline.pairing.reference_views import open_reference
from pipeline.pairing.views import check_view_options, plan_view_references
from pipeline.paths import check_paths
from pipeline.planning.output import check_output, check_room
from pipeline.planning.pictures import asked_pictures, stored_as
from pipeline.planning.segments import cut_segments, cut_views
from pipeline.recording import check_recording, open_recording, scan
from pipeline.schema.clip import Clip, FrameIndex, LightField, Recording, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings

__all__ = ["make_plan", "save_plan"]

SCALES = (2, 4, 8)
LEAST_SIDE = 16
"""Pixels: below this a side of the input holds nothing to align."""


def make_plan(settings: RunSettings) -> Plan:
    """Decide segments, references, encoder and output for a run of `settings`.

    Deterministic: the same files and arguments give the same plan. Raises InputError (and its
    kinds MediaError, PairingError) for anything the user has to change.
    """
    _check_names(settings)
    if settings.crf is not None and settings.quality is not None:
        raise InputError(
            f"found --crf {settings.crf:g} and --quality {settings.quality}, expected one of them; "
            "leave one out"
        )
    if settings.ref_stream is None:
        raise InputError(
            "found no reference, expected an HR recording to borrow from; give --ref-stream REF"
        )
    guarded = settings.sandbox == "on"
    lr = open_recording(settings.input, settings, sandbox=guarded)
    ref = open_reference(settings.ref_stream, settings, lr, sandbox=guarded)
    for clip in (lr, ref):
        check_recording(clip)
    lr, ref = (progressive(clip, settings.deinterlace) for clip in (lr, ref))
    silent, lr = _silenced(lr, settings.audio)
    check_view_options(settings, settings, settings, lr)
    scale = choose_scale(lr, ref, settings.scale)
    pictures = asked_pictures(settings, settings, lr)
    stored = stored_as(Storage(lr, settings.to).clip(0), pictures)
    encoding = default_encoding(
        stored,
        codec=settings.codec,
        crf=settings.crf,
        preset=settings.preset,
        pix_fmt=settings.pix_fmt,
        quality=settings.quality,
    )
    width, height = lr.width * scale, lr.height * scale
    check_encoder(encoding, width, height)
    index = frames_between(lr, scan(lr), settings.start, settings.end)
    output, pattern = pictures or (_output(settings, lr, scale, encoding), "")
    check_output(output, settings, lr, ref, pattern)
    check_room(output, stored if pattern else lr, len(index.pts) * width * height)
    if isinstance(lr, LightField):
        check_sheet_size(target_grid(lr, settings.to, output), (height, width))
        paired = plan_view_references(lr, ref, settings, (height, width), settings.to)
        segments = cut_views(lr, settings.segment, settings.to)
        notes = paired.notes
    else:
        lost = _lost(lr, output, encoding, pattern)
        paired = plan_references(lr, index, ref, settings, (height, width))
        segments = cut_segments(
            index.pts, index.keys, index.end_pts, lr.time_base, settings.segment
        )
        notes = [
            *_colour_notes(lr, ref),
            *guess_notes(lr, width, height),
            *silent,
            *lost,
            *paired.notes,
        ]
    return Plan(
        input=lr,
        reference=paired.reference,
        output=str(output),
        pictures=pattern,
        scale=scale,
        width=width,
        height=height,
        engine=settings.engine,
        model=settings.model,
        batch=settings.batch,
        encoding=encoding,
        on_error=settings.on_error,
        to=settings.to,
        cuts=paired.cuts,
        segments=segments,
        reference_map=paired.choices,
        notes=tuple(notes),
    )


def _silenced(clip: Recording, audio: str) -> tuple[list[str], Recording]:
    """Return what is to be said, and the clip without its sound where that is not wanted."""
    if audio == "copy" or not isinstance(clip, VideoClip):
        return [], clip
    sound = [stream for stream in clip.other_streams if stream.type == "audio"]
    if not sound:
        return [], clip
    others = tuple(stream for stream in clip.other_streams if stream.type != "audio")
    tracks = "the track" if len(sound) == 1 else f"{len(sound)} tracks"
    return [f"--audio none leaves out {tracks} of sound"], clip.model_copy(
        update={"other_streams": others}
    )


def probe_absolute(path: str, sandbox: bool) -> Clip:
    """Describe a recording by its whole path: a plan may be run from another folder."""
    return probe(str(Path(path).absolute()), sandbox=sandbox)


def choose_scale(lr: Recording, ref: Recording, asked: str) -> int:
    """Return 2, 4 or 8: what was asked for, or what brings the input nearest the reference."""
    height, width = turned_size(ref, quarter_turns(lr, ref))
    across, down = width / lr.width, height / lr.height
    if max(across, down) < 1.0:
        raise PairingError(
            f"found a reference of {ref.width}x{ref.height}, smaller than the input of "
            f"{lr.width}x{lr.height}, expected a larger one; are INPUT and --ref-stream swapped?"
        )
    if min(lr.width, lr.height) < LEAST_SIDE:
        raise InputError(
            f"found an input of {lr.width}x{lr.height}, expected at least "
            f"{LEAST_SIDE}x{LEAST_SIDE}; try a larger recording"
        )
    ratio = (across * down) ** 0.5
    if asked == "auto":
        if ratio < 1.3:
            raise PairingError(
                f"found a reference of {ref.width}x{ref.height} for an input of "
                f"{lr.width}x{lr.height}, expected one about 2, 4 or 8 times as large; "
                "give a larger reference, or --scale"
            )
        return min(
            SCALES,
            key=lambda scale: abs(scale / ratio - 1) if scale > ratio else abs(ratio / scale - 1),
        )
    scale = int(asked)
    if ratio < scale / 2.2:
        raise PairingError(
            f"found a reference only {ratio:.2g} times as large as the input, expected about "
            f"{scale} times for --scale {scale}; try --scale auto"
        )
    return scale


def frames_between(
    lr: Recording, index: FrameIndex, start: float | None, end: float | None
) -> FrameIndex:
    """Return the frames from `start` to before `end`, seconds on the input's clock."""
    if start is None and end is None:
        return index
    first = 0 if start is None else _first_at(lr, index, start)
    last = len(index.pts) if end is None else _first_at(lr, index, end)
    pts = index.pts[first:last]
    if not pts:
        raise InputError(
            f"found no frame between --start {start} and --end {end}, expected some within "
            f"{lr.seconds(index.pts[0]):.3f} to {float(index.end_pts * lr.time_base):.3f} s; "
            "try other times"
        )
    end_pts = index.pts[last] if last < len(index.pts) else index.end_pts
    keys = [key for key in index.keys if pts[0] <= key <= pts[-1]]
    return FrameIndex(pts=pts, keys=keys, end_pts=end_pts)


def _first_at(lr: Recording, index: FrameIndex, seconds: float) -> int:
    return bisect_left(index.pts, seconds - 1e-9, key=lambda pts: float(pts * lr.time_base))


def check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise InputError(
            f"found the engine '{engine}', expected one of {', '.join(ENGINES)}; try --engine auto"
        )


def _check_names(settings: RunSettings) -> None:
    check_engine(settings.engine)
    check_paths((settings.input, settings.ref_stream, settings.output, settings.ground_truth))


def _output(settings: RunSettings, lr: Recording, scale: int, encoding: Encoding) -> Path:
    if isinstance(lr, LightField):
        if settings.output is None:
            return default_target(lr, settings.to, f"_x{scale}")
        chosen = Path(settings.output).absolute()
        check_target(lr, settings.to, chosen)
        return chosen
    return Path(settings.output or default_output(lr, scale, encoding)).absolute()


def _lost(lr: Clip, output: Path, encoding: Encoding, pattern: str) -> list[str]:
    """Refuse what cannot hold the video, and say what it does not keep."""
    if pattern:
        return sequence.notes(lr, pattern, encoding)
    check_container(lr, output, encoding)
    return container_notes(lr, output, encoding)


def _colour_notes(lr: Recording, ref: Recording) -> list[str]:
    return [
        f"{name}: colour is not tagged, taken as {clip.colour.used_matrix} "
        f"{clip.colour.used_range} by its size"
        for name, clip in (("input", lr), ("reference", ref))
        if clip.colour.guessed and isinstance(clip, VideoClip)
    ]
