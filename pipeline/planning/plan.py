"""The plan: everything a run does, decided before it starts, from the files and the arguments."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

from deploy.protocol import ENGINES
from pipeline.errors import InputError, PairingError
from pipeline.lightfield.intermediate import Storage
from pipeline.lightfield.opening import open_light_field
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
from pipeline.media.read.probe import fingerprint, probe
from pipeline.media.write.encoder import check_encoder, default_encoding
from pipeline.pairing.clips import plan_references
from pipeline.pairing.geometry import quarter_turns, turned_size
from pipeline.pairing.reference_views import open_reference
from pipeline.pairing.views import check_view_options, checked_views, plan_view_references
from pipeline.paths import check_paths
from pipeline.planning.output import check_output, check_room
from pipeline.planning.pictures import asked_pictures, moved, stored_as
from pipeline.planning.segments import cut_segments, cut_views
from pipeline.recording import check_recording, open_guarded, reference_guarded, scan
from pipeline.schema.clip import Clip, FrameIndex, ticks
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan, save_plan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap
from pipeline.schema.settings import RunSettings

__all__ = ["load_plan", "make_plan", "save_plan"]

SCALES = (2, 4, 8)
LEAST_SIDE = 16
"""Pixels: below this a side of the input holds nothing to align."""
OVERRIDES = ("engine", "model", "batch", "on_error")
"""Settings that replace a plan's when they are given beside it."""
UNCOMPARED = ("ref_offset", "segment", "start", "end", "deinterlace", "quality", "audio")
"""Settings that went into a plan but cannot be read from it."""


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
    found, find_reference = (
        (open_guarded, reference_guarded) if guarded else (open_light_field, open_reference)
    )
    lr = found(settings.input, settings) or _probe(settings.input, guarded)
    views = lr.grid is not None
    ref = (
        find_reference(settings.ref_stream, settings, lr)
        if views
        else _probe(settings.ref_stream, guarded)
    )
    for clip in (lr, ref):
        check_recording(clip)
    lr, ref = (progressive(clip, settings.deinterlace) for clip in (lr, ref))
    silent, lr = _silenced(lr, settings.audio)
    check_view_options(settings, lr)
    scale = choose_scale(lr, ref, settings.scale)
    pictures = asked_pictures(settings, lr)
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
    if views:
        check_sheet_size(target_grid(lr, settings.to, output), (height, width))
        paired = plan_view_references(lr, ref, settings, (height, width))
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


def _probe_again(clip: Clip, path: str | None, sandbox: str) -> Clip:
    """Describe a recording of a plan anew; views are looked for where the plan has them."""
    if clip.grid is None:
        guarded = sandbox == "on" or (sandbox == "auto" and clip.sandbox)
        again = _probe(path or clip.path, guarded)
        wanted = {stream.index for stream in clip.other_streams}
        others = tuple(stream for stream in again.other_streams if stream.index in wanted)
        return again.model_copy(update={"deinterlace": clip.deinterlace, "other_streams": others})
    if path is not None and Path(path).absolute() != Path(clip.path):
        raise InputError(
            f"found the light field {path} beside a plan for {clip.path}, expected the same; "
            "make the plan anew"
        )
    files = [Path(file) for file in clip.files]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"found no {missing[0]}, which the plan names; make the plan anew")
    guarded = sandbox == "on" or (sandbox == "auto" and clip.sandbox)
    return clip.model_copy(update={"fingerprint": fingerprint(files)}).guarded(guarded)


def _silenced(clip: Clip, audio: str) -> tuple[list[str], Clip]:
    """Return what is to be said, and the clip without its sound where that is not wanted."""
    sound = [stream for stream in clip.other_streams if stream.type == "audio"]
    if audio == "copy" or not sound:
        return [], clip
    others = tuple(stream for stream in clip.other_streams if stream.type != "audio")
    tracks = "the track" if len(sound) == 1 else f"{len(sound)} tracks"
    return [f"--audio none leaves out {tracks} of sound"], clip.model_copy(
        update={"other_streams": others}
    )


def _probe(path: str, sandbox: bool) -> Clip:
    """Describe a recording by its whole path: a plan may be run from another folder."""
    return probe(str(Path(path).absolute()), sandbox=sandbox)


def load_plan(path: str | Path, settings: RunSettings | None = None) -> Plan:
    """Return a (perhaps edited) plan, checked against the files it names.

    `settings` gives the input it must be for, and may give another output, engine, model, batch
    and handling of errors; what contradicts the plan otherwise is refused. Entries of the
    reference map whose reference was changed by hand are marked "edited". Raises InputError for
    plans that are broken or whose files have changed.
    """
    plan = read_plan(path).model_copy(update={"record": None})
    guarded = settings.sandbox if settings else "auto"
    lr = _probe_again(plan.input, settings.input if settings else None, guarded)
    given = settings.ref_stream if settings else None
    ref = _probe_again(plan.reference.clip, given, guarded)
    for name, now, then in (("input", lr, plan.input), ("reference", ref, plan.reference.clip)):
        if now.fingerprint != then.fingerprint:
            raise InputError(
                f"found another {name} in {now.path} than the plan {path} was made for, "
                "expected the same file; make the plan anew"
            )
    plan = plan.model_copy(
        update={"input": lr, "reference": plan.reference.model_copy(update={"clip": ref})}
    )
    if settings is not None:
        plan = plan.model_copy(update=_said_anew(settings, plan, path))
    _check_numbers(plan, path)
    plan = plan.model_copy(update={"reference_map": ReferenceMap(_checked_map(plan, ref, path))})
    if settings is None:
        return plan
    plan = plan.model_copy(update=moved(plan, settings))
    output = Path(plan.output)
    check_output(output, settings, lr, ref, plan.pictures)
    if lr.grid is None and not plan.pictures:
        check_container(lr, output, plan.encoding)
    check_room(output, lr, len(plan.reference_map) * plan.width * plan.height)
    return plan


def _said_anew(settings: RunSettings, plan: Plan, path: str | Path) -> dict[str, object]:
    """Return what is given beside a plan and may differ from it; refuse what contradicts it."""
    given = settings.model_fields_set
    decided: dict[str, object] = {
        "scale": str(plan.scale),
        "select": plan.reference.select,
        "max_ref_distance": plan.reference.max_distance,
        **{name: getattr(plan.encoding, name) for name in ("codec", "crf", "preset", "pix_fmt")},
    }
    for name, then in decided.items():
        now = getattr(settings, name)
        if name in given and now not in ("auto", None, then):
            raise InputError(
                f"found --{name.replace('_', '-')} {now} beside the plan {path}, which has {then}, "
                "expected the same; leave it out, or make the plan anew"
            )
    silent = [f"--{name.replace('_', '-')}" for name in UNCOMPARED if name in given]
    notes = (f"{', '.join(silent)}: the plan decides, not the command",) if silent else ()
    changed: dict[str, object] = {n: getattr(settings, n) for n in OVERRIDES if n in given}
    return changed | {"notes": tuple(dict.fromkeys((*plan.notes, *notes)))}


def _check_numbers(plan: Plan, path: str | Path) -> None:
    """Refuse sizes, engines, encoders and segments that a hand has made impossible."""
    size = plan.input.width * plan.scale, plan.input.height * plan.scale
    if (plan.width, plan.height) != size:
        raise InputError(
            f"found an output of {plan.width}x{plan.height} in {path}, expected the input's "
            f"{plan.input.width}x{plan.input.height} times {plan.scale}; edit ref_pts only"
        )
    if plan.batch < 1:
        raise InputError(f"found a batch of {plan.batch} in {path}, expected 1 or more; try 2")
    _check_engine(plan.engine)
    check_encoder(plan.encoding, plan.width, plan.height)
    numbers = [segment.index for segment in plan.segments]
    apart = all(a.end_pts <= b.start_pts for a, b in pairwise(plan.segments))
    if numbers != list(range(len(numbers))) or not apart:
        raise InputError(
            f"found segments in {path} that overlap or are out of order, expected them as planned; "
            "edit ref_pts only"
        )


def _checked_map(plan: Plan, ref: Clip, path: str | Path) -> Iterator[ReferenceChoice]:
    known = scan(plan.input).pts
    parts = [
        known[bisect_left(known, s.start_pts) : bisect_left(known, s.end_pts)]
        for s in plan.segments
    ]
    covered = ticks(chain.from_iterable(parts))
    counted = all(s.frames == len(p) for s, p in zip(plan.segments, parts, strict=True))
    if not covered or plan.reference_map.pts != covered or not counted:
        raise InputError(
            f"found a reference map in {path} that does not fit the input's frames "
            f"({len(plan.reference_map)} entries for {len(covered)} frames), expected one for "
            "every frame, in order; edit ref_pts only"
        )
    there = set(scan(ref, distinct=False).pts)
    drift, offset = plan.reference.drift, plan.reference.offset
    for choice in plan.reference_map:
        if choice.views is not None:
            yield checked_views(choice, plan, there, path)
            continue
        if choice.ref_pts is None:
            edited = choice.seconds is not None
            seconds = None
        elif choice.ref_pts not in there:
            raise InputError(
                f"found ref_pts {choice.ref_pts} for pts {choice.pts} in {path}, expected the "
                "time of a reference frame or null; see `pipeline probe` of the reference"
            )
        else:
            at = ref.seconds(choice.ref_pts) * drift + offset
            seconds = round(at - plan.input.seconds(choice.pts), 6)
            edited = choice.seconds is None or abs(seconds - choice.seconds) > 1e-4
            if not edited or (ref.kind == "stills" and not ref.times):
                seconds, edited = choice.seconds, False
        yield replace(choice, seconds=seconds, why="edited") if edited else choice


def choose_scale(lr: Clip, ref: Clip, asked: str) -> int:
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
    lr: Clip, index: FrameIndex, start: float | None, end: float | None
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


def _first_at(lr: Clip, index: FrameIndex, seconds: float) -> int:
    return bisect_left(index.pts, seconds - 1e-9, key=lambda pts: float(pts * lr.time_base))


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise InputError(
            f"found the engine '{engine}', expected one of {', '.join(ENGINES)}; try --engine auto"
        )


def _check_names(settings: RunSettings) -> None:
    _check_engine(settings.engine)
    check_paths((settings.input, settings.ref_stream, settings.output, settings.ground_truth))


def _output(settings: RunSettings, lr: Clip, scale: int, encoding: Encoding) -> Path:
    if settings.output is None and lr.grid is not None:
        return default_target(lr, settings.to, f"_x{scale}")
    chosen = Path(settings.output or default_output(lr, scale, encoding)).absolute()
    if lr.grid is not None:
        check_target(lr, settings.to, chosen)
    return chosen


def _lost(lr: Clip, output: Path, encoding: Encoding, pattern: str) -> list[str]:
    """Refuse what cannot hold the video, and say what it does not keep."""
    if pattern:
        return sequence.notes(lr, pattern, encoding)
    check_container(lr, output, encoding)
    return container_notes(lr, output, encoding)


def _colour_notes(lr: Clip, ref: Clip) -> list[str]:
    return [
        f"{name}: colour is not tagged, taken as {clip.colour.used_matrix} "
        f"{clip.colour.used_range} by its size"
        for name, clip in (("input", lr), ("reference", ref))
        if clip.colour.guessed and clip.kind == "video"
    ]
