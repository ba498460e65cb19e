"""TODO: what this module is for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

from pipeline.errors import InputError
from pipeline.media.join.capabilities import (
    check_container,
)
from pipeline.media.read.probe import fingerprint
from pipeline.media.write.encoder import check_encoder
from pipeline.pairing.views import checked_views
from pipeline.planning.output import check_output, check_room
from pipeline.planning.pictures import moved
from pipeline.planning.plan import check_engine, probe_absolute
from pipeline.recording import scan
from pipeline.schema.clip import LightField, Recording, Stills, VideoClip, ticks
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap
from pipeline.schema.settings import RunSettings

OVERRIDES = ("engine", "model", "batch", "on_error")
"""Settings that replace a plan's when they are given beside it."""


UNCOMPARED = ("ref_offset", "segment", "start", "end", "deinterlace", "quality", "audio")
"""Settings that went into a plan but cannot be read from it."""


def _probe_again(clip: Recording, path: str | None, sandbox: str) -> Recording:
    """Describe a recording of a plan anew; views are looked for where the plan has them."""
    guarded = sandbox == "on" or (sandbox == "auto" and clip.sandbox)
    if not isinstance(clip, LightField):
        again = probe_absolute(path or clip.path, guarded)
        if not isinstance(clip, VideoClip) or not isinstance(again, VideoClip):
            return again
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
    return clip.model_copy(update={"fingerprint": fingerprint(files)}).with_sandbox(guarded)


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
    plan = plan.model_copy(update=moved(plan, settings, settings))
    output = Path(plan.output)
    check_output(output, settings, lr, ref, plan.pictures)
    if not isinstance(lr, LightField) and not plan.pictures:
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
    check_engine(plan.engine)
    check_encoder(plan.encoding, plan.width, plan.height)
    numbers = [segment.index for segment in plan.segments]
    apart = all(a.end_pts <= b.start_pts for a, b in pairwise(plan.segments))
    if numbers != list(range(len(numbers))) or not apart:
        raise InputError(
            f"found segments in {path} that overlap or are out of order, expected them as planned; "
            "edit ref_pts only"
        )


def _checked_map(plan: Plan, ref: Recording, path: str | Path) -> Iterator[ReferenceChoice]:
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
            if not edited or (isinstance(ref, Stills) and not ref.times):
                seconds, edited = choice.seconds, False
        yield replace(choice, seconds=seconds, why="edited") if edited else choice
