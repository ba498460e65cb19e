"""Load a stored plan, which users may have edited, and check it against its files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

from pipeline.errors import InputError
from pipeline.media.join.capabilities import check_container, check_times
from pipeline.media.write.encoder import check_encoder
from pipeline.pairing.views import check_view_choice
from pipeline.planning.effort import change_effort
from pipeline.planning.effort_notes import replace_effort_notes
from pipeline.planning.output import check_output, check_room
from pipeline.planning.output_size import align_size, choose_size
from pipeline.planning.pictures import replace_output
from pipeline.planning.pinned import can_be_planes
from pipeline.planning.plan import check_engine
from pipeline.planning.sources import reopen_sources
from pipeline.planning.weights import change_model, describe_file, drop_weights_notes
from pipeline.recording import scan
from pipeline.schema.clip import LightField, Recording, pack_ticks
from pipeline.schema.frame_size import find_network_scale, find_pixel_aspect
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap
from pipeline.schema.settings import PairingSettings, RunSettings

# Settings that may replace the plan's.
OVERRIDES = ("engine", "model", "batch", "on_error")

# Settings that shaped the plan but cannot be read from it.
UNCOMPARED = (
    "ref_offset",
    "ref_count",
    "capture",
    "segment",
    "start",
    "end",
    "deinterlace",
    "quality",
    "audio",
)

# A choice counts as edited if a distance differs from the planned one by more than this (seconds).
EDITED_SECONDS = 1e-4


def load_plan(
    path: str | Path, settings: RunSettings | None = None, *, is_written: bool = True
) -> Plan:
    """Load a stored plan, which may have been edited, and check it against its files.

    The input and the reference in `settings` must be the plan's. Settings may change the output,
    engine, model, effort, adaptation, batch size and treatment of corrupt frames. Other settings
    are rejected if they contradict the plan, and ignored with a note if they cannot be compared
    with it. Entries of the reference map whose references were edited are marked "edited". Without
    `settings`, the output is not checked. Without `is_written`, nothing checks whether the output's
    container can store the times of the frames. Raises InputError if the plan is invalid, if its
    files have changed, or if the output cannot be written.
    """
    plan = read_plan(path).model_copy(update={"record": None})

    # the files must be those of the plan
    sources = reopen_sources(plan, path, settings, settings)
    reference = plan.reference.model_copy(update={"clip": sources.ref})
    plan = plan.model_copy(update={"input": sources.lr, "reference": reference})

    # settings may replace a few fields
    if settings is not None:
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        plan = plan.model_copy(update=override_fields(given, plan, path))

    # the edited plan must be consistent
    check_fields(plan, path)
    choices = ReferenceMap(check_choices(plan, sources.ref, path))
    plan = plan.model_copy(update={"reference_map": choices})
    if settings is None:
        return plan

    # the output may differ from the planned one
    plan = plan.model_copy(update=replace_output(plan, settings, settings))
    output = Path(plan.output)
    check_output(output, settings, sources.lr, sources.ref, plan.pictures, [str(path), plan.model])
    if not isinstance(sources.lr, LightField) and not plan.pictures:
        check_container(sources.lr, output, plan.encoding)
        if is_written:
            check_times(sources.lr, [choice.pts for choice in plan.reference_map], output)
    check_room(output, sources.lr, len(plan.reference_map) * plan.width * plan.height)
    return plan


def override_fields(given: Mapping[str, object], plan: Plan, path: str | Path) -> dict[str, object]:
    """Return the plan's fields that the given settings change, with their new values.

    Raises InputError if a setting contradicts the plan.
    """
    decided: dict[str, object] = {
        "select": plan.reference.select,
        "max_ref_distance": plan.reference.max_distance,
        **{name: getattr(plan.encoding, name) for name in ("codec", "crf", "preset", "pix_fmt")},
    }
    for name, planned in decided.items():
        value = given.get(name)
        if value not in ("auto", None, planned):
            raise InputError(
                f"{option_name(name)} {value} contradicts the plan {path}, which was made with "
                f"{'none' if planned is None else planned}; leave the option out, or make a new "
                "plan"
            )

    check_named_size(given, plan, path)
    if given.get("trust_reference") and plan.reference.trusted is None:
        raise InputError(
            f"the plan {path} was made without --trust-reference; leave the option out, or make a "
            "new plan"
        )

    ignored = [option_name(name) for name in UNCOMPARED if name in given]
    ignored_note = (
        f"{', '.join(ignored)}: ignored, because the plan decides this" if ignored else ""
    )

    changed: dict[str, object] = {name: given[name] for name in OVERRIDES if name in given}
    engine = str(given.get("engine", plan.engine))
    changed["planes"] = plan.planes and engine == plan.engine
    requested = str(given.get("effort", "auto"))
    effort = change_effort(plan, engine, requested)
    changed["mixes_flow"] = effort.mixes_flow
    changed["averages_mirrored"] = effort.averages_mirrored
    if "model" in given:
        model = str(given["model"])
        model_note = describe_file(model, given.get("adapt"), requested)
    else:
        model, model_note = change_model(plan.model, requested)
    if model != plan.model:
        changed["model"] = model
    if "adapt" in given:
        changed["adaptation"] = None
    elif "model" in changed and plan.adaptation is not None:
        changed["adaptation"] = plan.adaptation.without_decision()

    notes = (*plan.notes, *filter(None, (ignored_note, model_note)))
    notes = drop_weights_notes(notes, None if engine == "bicubic" else model, requested)
    return changed | {"notes": replace_effort_notes(notes, effort.notes)}


def check_named_size(given: Mapping[str, object], plan: Plan, path: str | Path) -> None:
    """Raise InputError if --scale or --size is given and differs from the plan's size."""
    named = {name: given[name] for name in ("scale", "size") if given.get(name) is not None}
    if not named or named == {"scale": "auto"}:
        return

    wanted = choose_size(plan.input, plan.reference.clip, PairingSettings.model_validate(named))
    wanted = align_size(wanted, plan.encoding.pix_fmt)
    if (wanted.width, wanted.height) != (plan.width, plan.height):
        options = " ".join(f"{option_name(name)} {value}" for name, value in named.items())
        raise InputError(
            f"{options} does not match the size in the plan {path}, which is "
            f"{plan.width}x{plan.height} (x{plan.enlargement}); leave the option out, or make a "
            "new plan"
        )


def option_name(field: str) -> str:
    """Return the option of a settings field, such as --max-ref-distance for `max_ref_distance`."""
    return f"--{field.replace('_', '-')}"


def check_fields(plan: Plan, path: str | Path) -> None:
    """Raise InputError if an edit made a field invalid.

    The size, capture, batch, engine, planes, encoding and segments are checked.
    """
    check_size(plan, path)
    if plan.capture is not None and plan.capture.scale != plan.scale:
        raise InputError(
            f"the capture in {path} is for scale {plan.capture.scale}, but the plan has scale "
            f"{plan.scale}; set the capture to null, or copy it from a plan of this scale"
        )
    if plan.batch < 1:
        raise InputError(f"the batch in {path} is {plan.batch}, but must be 1 or more; try 2")
    check_engine(plan.engine)
    if plan.planes and not can_be_planes(plan):
        raise InputError(
            f"{path} sets planes to true, but only the engine bicubic can enlarge planes, and only "
            "if both the input and the output are 4:2:0 video; set planes to false"
        )
    check_encoder(plan.encoding, plan.width, plan.height)

    numbers = [segment.index for segment in plan.segments]
    apart = all(a.end_pts <= b.start_pts for a, b in pairwise(plan.segments))
    if numbers != list(range(len(numbers))) or not apart:
        raise InputError(
            f"the segments in {path} overlap or are out of order; restore them, and edit only "
            "ref_pts"
        )


def check_size(plan: Plan, path: str | Path) -> None:
    """Raise InputError unless the plan's output size is possible and matches its scale."""
    shape = plan.input.width, plan.input.height
    scale = find_network_scale(plan.input, plan.width, plan.height)
    fits = find_pixel_aspect(plan.input, plan.width, plan.height) is not None
    whole = (plan.width, plan.height) == (shape[0] * plan.scale, shape[1] * plan.scale)
    if whole or (fits and scale == plan.scale and not isinstance(plan.input, LightField)):
        return
    raise InputError(
        f"the output size {plan.width}x{plan.height} in the plan {path} does not match the input's "
        f"{shape[0]}x{shape[1]} times the scale {plan.scale}; make a new plan with --size"
    )


def check_choices(plan: Plan, ref: Recording, path: str | Path) -> Iterator[ReferenceChoice]:
    """Yield the plan's choices, with the edited ones marked.

    Raises InputError if there is not exactly one choice per frame, or if a choice refers to a
    reference that does not exist.
    """
    check_coverage(plan, path)

    ref_pts = set(scan(ref, distinct=False).pts)
    check_trusted(plan, ref_pts, path)
    for choice in plan.reference_map:
        if choice.views is not None:
            yield check_view_choice(choice, choice.views, plan, ref_pts, path)
        elif choice.ref_pts is None:
            was_edited = choice.seconds is not None or bool(choice.also)
            none = replace(choice, seconds=None, why="edited", also=(), also_seconds=())
            yield none if was_edited else choice
        elif not {choice.ref_pts, *choice.also} <= ref_pts:
            unknown = [pts for pts in (choice.ref_pts, *choice.also) if pts not in ref_pts]
            raise InputError(
                f"in {path}, the reference {unknown[0]} for pts {choice.pts} is not the pts of a "
                "reference frame; list them with `pipeline probe REF`, or write null for none"
            )
        else:
            yield mark_edited(choice, choice.ref_pts, plan, ref)


def check_trusted(plan: Plan, ref_pts: set[int], path: str | Path) -> None:
    """Raise InputError if the trusted key frames include frames that do not exist."""
    trusted = plan.reference.trusted
    if trusted is None:
        return
    if not {*trusted.pts} <= {*scan(plan.input).pts} or not {*trusted.ref_pts} <= ref_pts:
        raise InputError(
            f"the trusted key frames in {path} include pts that the input or the reference does "
            "not have; make a new plan"
        )


def mark_edited(
    choice: ReferenceChoice, ref_pts: int, plan: Plan, ref: Recording
) -> ReferenceChoice:
    """Return the choice, marked "edited" if its references are not at the planned distances.

    The distances (in seconds) are calculated again. If the first reference was changed to one that
    is already in `also`, the duplicate is dropped. If the reference recording has no times, there
    are no distances, and the choice is not marked.
    """
    also = tuple(pts for pts in dict.fromkeys(choice.also) if pts != ref_pts)
    if not ref.has_times:
        return replace(choice, also=also, also_seconds=())

    def measure(pts: int) -> float:
        at = ref.seconds(pts) * plan.reference.drift + plan.reference.offset
        return round(at - plan.input.seconds(choice.pts), 6)

    seconds = measure(ref_pts)
    away = tuple(measure(pts) for pts in also)
    planned = (choice.seconds, *choice.also_seconds)
    if len(planned) == 1 + len(also) and all(
        was is not None and abs(now - was) <= EDITED_SECONDS
        for now, was in zip((seconds, *away), planned, strict=True)
    ):
        return choice
    return replace(choice, seconds=seconds, why="edited", also=also, also_seconds=away)


def check_coverage(plan: Plan, path: str | Path) -> None:
    """Raise InputError unless the reference map has one entry for every frame of the segments.

    The error is also raised if a segment states the wrong number of frames.
    """
    known = scan(plan.input).pts
    parts = [
        known[bisect_left(known, segment.start_pts) : bisect_left(known, segment.end_pts)]
        for segment in plan.segments
    ]

    covered = pack_ticks(chain.from_iterable(parts))
    counted = all(
        segment.frames == len(part) for segment, part in zip(plan.segments, parts, strict=True)
    )
    if not covered or plan.reference_map.pts != covered or not counted:
        raise InputError(
            f"the reference map in {path} does not fit the input's frames "
            f"(entries: {len(plan.reference_map)}, frames: {len(covered)}): it needs one entry for "
            "every frame, in order; restore the map, and edit only ref_pts"
        )
