"""Make the plan of a run, which decides everything that the run does, from files and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from crossnetpp.networks.mirroring import ORIENTATIONS
from deploy.names import ENGINES
from deploy.speed import Speed
from pipeline.errors import InputError
from pipeline.pairing.clips import plan_references
from pipeline.pairing.edits.trusted import trust_key_frames
from pipeline.pairing.rules import Paired
from pipeline.pairing.views import plan_view_references
from pipeline.paths import check_paths
from pipeline.planning.capture import choose_capture
from pipeline.planning.chroma import correct_chroma
from pipeline.planning.effort import (
    choose_effort,
    find_base_model,
    find_restoring_fit,
    limit_references,
)
from pipeline.planning.film_rate import set_film_rate
from pipeline.planning.output_size import choose_size
from pipeline.planning.segments import cut_segments, cut_views, limit_frames, shorten
from pipeline.planning.source_notes import list_source_notes
from pipeline.planning.sources import Sources, open_sources, select_frames
from pipeline.planning.target import choose_target
from pipeline.planning.weights import choose_model, describe_file
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import FrameIndex, LightField
from pipeline.schema.plan import Plan, Segment
from pipeline.schema.settings import EncoderSettings, Layout, RunSettings, ViewSettings

# (engine, model, pixels of the network's frames) -> the recorded speed, or None.
FindSpeed = Callable[[str, str, int], Speed | None]


def make_plan(
    settings: RunSettings,
    progress: Reporter = SILENT,
    *,
    find_speed: FindSpeed | None = None,
    is_written: bool = True,
) -> Plan:
    """Return the plan of a run, which decides its segments, references, encoder and output.

    The same files, settings and speed result in the same plan. The engine's speed is used only to
    shorten segments that would take a long time, so that less work is lost when a run is stopped.
    If the settings specify the segment length, the speed is not used at all. The path of the output
    is checked only if `is_written`. Raises InputError (or its subclasses MediaError and
    PairingError) if the user has to change a setting or a file.
    """
    check_engine(settings.engine)
    check_paths((settings.input, settings.ref_stream, settings.output, settings.ground_truth))
    check_quality(settings)

    with progress.step("opening the recordings"):
        sources = open_sources(settings, settings, settings, settings)
        sources = set_film_rate(sources, settings)
        size = choose_size(sources.lr, sources.ref, settings)
        frames = select_frames(sources.lr, settings)

    target = choose_target(
        *(settings, settings, size, sources, frames, settings.model),
        is_written=is_written,
    )

    # the references are paired with the network's frames, which may be larger than the output's
    grid = sources.lr.height * size.scale, sources.lr.width * size.scale
    pairing = limit_references(settings, settings.effort)
    paired = pair_sources(sources, frames, pairing, grid, settings.to, progress)
    if settings.trust_reference:
        with progress.step("comparing the key frames with the input"):
            paired = trust_key_frames(sources.lr, paired, size.scale, grid)
    rest = paired, size.scale, grid, settings.engine, progress
    capture = choose_capture(settings.capture, sources.lr, *rest)
    measured = capture.capture if settings.capture == "auto" else None
    corrected, chroma_note = correct_chroma(sources.lr, measured)
    if chroma_note:
        sources = replace(sources, lr=corrected)
        capture = choose_capture(settings.capture, sources.lr, *rest)  # with the right chroma
    model, model_note = find_base_model(settings), ""
    if settings.engine != "bicubic" and "model" not in settings.model_fields_set:
        model, model_note = choose_model(model, capture.fits_db)
    elif settings.engine != "bicubic":
        model_note = describe_file(model, settings.adapt, settings.effort)
    effort = choose_effort(
        settings, capture.fits_db, grid[0] * grid[1], trusts=settings.trust_reference
    )

    most = None
    if find_speed is not None and "segment" not in settings.model_fields_set:
        pixels = grid[0] * grid[1] * len(paired.choices)
        speed = find_speed(settings.engine, model, pixels)
        orientations = ORIENTATIONS if effort.averages_mirrored else 1
        most = limit_frames(paired.choices, grid, speed, orientations)
    segments = cut_source(sources, frames, settings.segment, settings.to, most)

    return Plan(
        input=sources.lr,
        reference=paired.reference,
        capture=capture.capture,
        output=str(target.output),
        pictures=target.pattern,
        scale=size.scale,
        width=target.size.width,
        height=target.size.height,
        engine=settings.engine,
        model=model,
        restores_from_db=find_restoring_fit(
            settings, capture.fits_db, sources.lr, trusts=settings.trust_reference
        ),
        mixes_flow=effort.mixes_flow,
        averages_mirrored=effort.averages_mirrored,
        batch=settings.batch,
        encoding=target.encoding,
        on_error=settings.on_error,
        to=settings.to,
        cuts=paired.cuts,
        segments=segments,
        reference_map=paired.choices,
        notes=(
            *list_source_notes(sources, frames),
            *target.size.list_notes(sources.lr, settings.engine),
            *target.notes,
            *paired.notes,
            *filter(None, (capture.note, chroma_note, model_note)),
            *effort.notes,
        ),
    )


def check_quality(settings: EncoderSettings) -> None:
    """Raise InputError if the quality is set both by --crf and by --quality."""
    if settings.crf is not None and settings.quality is not None:
        raise InputError(
            f"--crf {settings.crf:g} and --quality {settings.quality} are mutually exclusive; "
            "leave one out"
        )


def check_engine(engine: str) -> None:
    """Raise InputError if there is no engine of this name."""
    if engine not in ENGINES:
        raise InputError(
            f"unknown engine '{engine}', expected one of {', '.join(ENGINES)}; try --engine auto"
        )


def pair_sources(
    sources: Sources,
    frames: FrameIndex,
    settings: ViewSettings,
    size: tuple[int, int],
    to: Layout | None,
    progress: Reporter = SILENT,
) -> Paired:
    """Choose the references of every frame or view.

    `size` is the height and width of the network's frames, and `to` is the layout of the output if
    it is a light field.
    """
    if isinstance(sources.lr, LightField):
        with progress.step("choosing the reference of every view"):
            return plan_view_references(sources.lr, sources.ref, settings, size, to)
    if isinstance(sources.ref, LightField):
        raise TypeError("a light field cannot be the reference of a clip")
    return plan_references(sources.lr, frames, sources.ref, settings, size, progress)


def cut_source(
    sources: Sources, frames: FrameIndex, seconds: float, to: Layout | None, most: int | None
) -> tuple[Segment, ...]:
    """Return a clip's segments of about `seconds` each, or a light field's (see `cut_views`).

    If `most` is given, no segment has many more than `most` frames.
    """
    if isinstance(sources.lr, LightField):
        return cut_views(sources.lr, seconds, to, most)
    time_base = sources.lr.time_base
    shorter = shorten(frames, time_base, seconds, most)
    return cut_segments(frames.pts, frames.keys, frames.end_pts, time_base, shorter)
