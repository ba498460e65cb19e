"""Open the recordings of a run: the input and its reference."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.media.read.detect_interlacing import choose_deinterlacing
from pipeline.media.read.identity import fingerprint, list_files
from pipeline.media.read.probe import probe
from pipeline.pairing.reference_views import open_reference
from pipeline.pairing.views import check_view_options
from pipeline.recording import check_recording, open_recording, scan
from pipeline.schema.clip import FrameIndex, LightField, Recording, Stills, VideoClip
from pipeline.schema.plan import Plan
from pipeline.schema.settings import (
    EncoderSettings,
    InputSettings,
    OutputSettings,
    PairingSettings,
    ViewSettings,
)


@dataclass(frozen=True)
class Sources:
    """The recordings of a run, described and checked."""

    lr: Recording
    ref: Recording
    notes: tuple[str, ...] = ()
    """Sentences about omitted audio, and about the frame rate of a video made from pictures."""


def open_sources(
    part: InputSettings, views: ViewSettings, output: OutputSettings, encoder: EncoderSettings
) -> Sources:
    """Describe the input and its reference.

    Raises InputError if the reference is not given or an option does not suit the input, and
    MediaError if a recording cannot be read.
    """
    if views.ref_stream is None:
        raise InputError(
            "there is no reference to borrow detail from; pass an HR recording with --ref-stream "
            "REF"
        )

    in_sandbox = part.sandbox == "on"
    lr = open_recording(part.input, part, sandbox=in_sandbox)
    ref = open_reference(views.ref_stream, views, lr, sandbox=in_sandbox)
    for recording in (lr, ref):
        check_recording(recording)

    lr = choose_deinterlacing(lr, part.deinterlace)
    ref = choose_deinterlacing(ref, part.deinterlace)

    notes: tuple[str, ...] = ()
    if encoder.audio == "none":
        lr, notes = drop_audio(lr)

    check_view_options(views, part, output, lr)
    return Sources(lr, ref, notes)


def drop_audio(lr: Recording) -> tuple[Recording, tuple[str, ...]]:
    """Return the input without its audio, and a note if it had any."""
    if not isinstance(lr, VideoClip):
        return lr, ()

    audio = [stream for stream in lr.other_streams if stream.type == "audio"]
    if not audio:
        return lr, ()

    others = tuple(stream for stream in lr.other_streams if stream.type != "audio")
    tracks = "the audio track" if len(audio) == 1 else f"{len(audio)} audio tracks"
    return lr.model_copy(update={"other_streams": others}), (f"--audio none drops {tracks}",)


def select_frames(lr: Recording, part: InputSettings) -> FrameIndex:
    """Return the index of the frames from `part.start` up to, but not including, `part.end`.

    Both are in seconds on the input's clock. Raises InputError if there is no such frame.
    """
    index = scan(lr)
    if part.start is None and part.end is None:
        return index

    first = 0 if part.start is None else _first_frame_at(lr, index, part.start)
    last = len(index.pts) if part.end is None else _first_frame_at(lr, index, part.end)
    pts = index.pts[first:last]
    if not pts:
        limits = {"--start": part.start, "--end": part.end}
        given = " ".join(f"{name} {at:.10g}" for name, at in limits.items() if at is not None)
        raise InputError(
            f"found no frame with {given}; choose times from {lr.seconds(index.pts[0]):.3f} to "
            f"{float(index.end_pts * lr.time_base):.3f} s, with --end after --start"
        )

    end_pts = index.pts[last] if last < len(index.pts) else index.end_pts
    keys = [key for key in index.keys if pts[0] <= key <= pts[-1]]
    undecodable = index.undecodable if first == 0 else 0
    return FrameIndex(pts=pts, keys=keys, end_pts=end_pts, undecodable=undecodable)


def _first_frame_at(lr: Recording, index: FrameIndex, seconds: float) -> int:
    """Return the position of the first frame at or after `seconds`; the frame count if none is."""
    return bisect_left(index.pts, seconds - 1e-9, key=lambda pts: float(pts * lr.time_base))


def reopen_sources(
    plan: Plan, path: str | Path, part: InputSettings | None, pairing: PairingSettings | None
) -> Sources:
    """Describe the recordings of a stored plan again, and check that they are the same files.

    `path` is the plan's file, for error messages. Raises InputError if a file has changed or is
    missing, or if `part` or `pairing` names a light field other than the plan's.
    """
    sandbox = part.sandbox if part else "auto"
    lr = _reopen(plan.input, part.input if part else None, sandbox)
    ref = _reopen(plan.reference.clip, pairing.ref_stream if pairing else None, sandbox)

    for name, now, then in (("input", lr, plan.input), ("reference", ref, plan.reference.clip)):
        if now.fingerprint != then.fingerprint:
            raise InputError(
                f"the {name} {now.path} is not the file that the plan {path} was made for; pass "
                "that file, or make a new plan"
            )
    return Sources(lr, ref)


def _reopen(recording: Recording, path: str | None, sandbox: str) -> Recording:
    """Describe a recording of a plan again, but keep what the plan decided.

    This applies to the views of a light field, to the times of pictures, and to the deinterlacing,
    the copied streams and the chroma location of a video. Raises InputError if `path` is not the
    plan's light field, or if one of its files is missing.
    """
    in_sandbox = sandbox == "on" or (sandbox == "auto" and recording.sandbox)
    if not isinstance(recording, LightField):
        again = probe(str(Path(path or recording.path).absolute()), sandbox=in_sandbox)
        if isinstance(recording, Stills) and isinstance(again, Stills):
            kept_times = ("times", "time_base", "frame_rate")
            return again.model_copy(update={name: getattr(recording, name) for name in kept_times})
        if not isinstance(recording, VideoClip) or not isinstance(again, VideoClip):
            return again

        kept = {stream.index for stream in recording.other_streams}
        others = tuple(stream for stream in again.other_streams if stream.index in kept)
        # the plan's chroma location may be a corrected one; plans of older versions have none
        chroma = recording.colour.chroma or again.colour.chroma
        colour = again.colour.model_copy(update={"chroma": chroma})
        return again.model_copy(
            update={
                "deinterlace": recording.deinterlace,
                "other_streams": others,
                "colour": colour,
            }
        )

    if path is not None and Path(path).absolute() != Path(recording.path):
        raise InputError(
            f"the plan was made for the light field {recording.path}, not for {path}; pass that "
            "path, or make a new plan"
        )
    files = list_files(recording)
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(
            f"the file {missing[0]} is missing, although the plan lists it; restore the file, or "
            "make a new plan"
        )

    updated = recording.model_copy(update={"fingerprint": fingerprint(files)})
    return updated.with_sandbox(in_sandbox)
