"""Choose a reference view for every frame of a light field."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError, PairingError
from pipeline.lightfield.reader import ViewTimes
from pipeline.lightfield.validity import find_dark_views
from pipeline.media.read.probe import scan
from pipeline.pairing.choose_views import (
    CameraPosition,
    Candidate,
    ViewRules,
    ViewTarget,
    choose_view,
)
from pipeline.pairing.field_of_view import COMPARED_PAIRS, choose_map, list_pairs
from pipeline.pairing.given import demote_misplaced_views
from pipeline.pairing.reference_views import find_shown_view
from pipeline.pairing.rules import Paired, find_half_interval
from pipeline.pairing.view_notes import write_view_notes
from pipeline.schema.clip import Clip, LightField, Recording, Stills, VideoClip, View
from pipeline.schema.plan import Plan, ReferencePlan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, ViewChoice
from pipeline.schema.settings import InputSettings, Layout, OutputSettings, ViewSettings


def plan_view_references(
    lr: LightField,
    ref: Recording,
    settings: ViewSettings,
    size: tuple[int, int],
    to: Layout | None,
) -> Paired:
    """Choose reference views for every frame of a light field.

    `size` is the height and width of the network's frames, and `to` is the output's layout. Raises
    PairingError if the settings lack the position of a single reference camera, or if the pictures
    of a reference cannot be assigned to views.
    """
    seen = find_dark_views(lr)
    candidates = [
        replace(c, own_view_only=(c.place.row, c.place.col) in seen.dark)
        for c in _list_candidates(lr, ref, settings)
    ]
    times = ViewTimes(lr)
    targets = []
    for number in range(lr.grid.count):
        position, moment = lr.grid.place(number)
        place = _locate_view(lr.grid.views[position])
        empty = (place.row, place.col) in seen.empty
        targets.append(ViewTarget(number, place, moment, times.seconds(number), empty))
    limits = ViewRules(
        count=settings.ref_count or 1,
        seconds=settings.max_ref_distance,
        same_time=find_half_interval(sorted({target.seconds for target in targets})),
        whole=(ref.height, ref.width) == size,
    )

    choices = [choose_view(target, candidates, limits) for target in targets]
    # the HR views of a light field have the same field of view as the LR views
    pairs = [] if isinstance(ref, LightField) else _pick_nearest_pairs(choices)
    affine, notes = choose_map(lr, ref, pairs, size)
    if affine is not None:
        # a reference with a different field of view is warped, so it cannot pass through unchanged
        choices = [replace(c, why="nearest") if c.why == "given" else c for c in choices]
    choices, given_notes = demote_misplaced_views(lr, ref, choices)
    notes += given_notes
    if not all(candidate.timed for candidate in candidates):
        notes.append(
            f"it is unknown which of the input's {lr.grid.moments} moments the reference shows, so "
            "it is used for all of them and passes through at none; name its folder or file after "
            "the moment"
        )

    reference = ReferencePlan(
        clip=ref, select="view", max_distance=settings.max_ref_distance, affine=affine
    )
    notes += write_view_notes(lr, choices, size, to, seen)
    return Paired(reference, ReferenceMap(choices), (), notes)


def check_view_options(
    settings: ViewSettings, part: InputSettings, output: OutputSettings, lr: Recording
) -> None:
    """Raise InputError if an option does not apply to the input."""
    if isinstance(lr, LightField):
        _check_light_field_options(settings, part)
        return
    names = ("ref_view", "ref_position", "consistent")
    given = [name for name in names if name in settings.model_fields_set]
    if "to" in output.model_fields_set:
        given.append("to")
    if settings.select == "view":
        given.append("select")
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')} applies only to light fields, and {lr.path} is not "
            "recognised as one; leave the option out, name the views like view_00_00.png, or pass "
            "a sheet with --layout and --grid"
        )


def _check_light_field_options(settings: ViewSettings, part: InputSettings) -> None:
    for name, given in (
        ("--start or --end", part.start is not None or part.end is not None),
        (f"--select {settings.select}", settings.select in ("time", "content")),
        ("--ref-offset", settings.ref_offset is not None),
    ):
        if given:
            raise InputError(
                f"{name} cannot be used for light fields, whose references are chosen by view and "
                "whose recordings are enhanced as a whole; leave the option out"
            )


def _locate_view(view: View) -> CameraPosition:
    if view.x is None or view.y is None:
        return CameraPosition(float(view.col), float(view.row), view.row, view.col)
    return CameraPosition(view.x, view.y, view.row, view.col)


def _list_candidates(lr: LightField, ref: Recording, settings: ViewSettings) -> list[Candidate]:
    if not isinstance(ref, LightField):
        return [_make_lone_candidate(lr, ref, settings)]
    times = ViewTimes(ref)
    known = {(view.row, view.col): _locate_view(view) for view in lr.grid.views}
    named = find_moment_times(lr, list_moment_names(ref))
    several = lr.grid.moments > 1
    found = []
    for position, view in enumerate(ref.grid.views):
        numbers = [ref.grid.number(position, moment) for moment in range(view.frames)]
        seconds: Sequence[float] | None = None
        if several and named is not None:
            seconds = named
        elif ref.grid.moments > 1 or (several and view.clip is not None):
            seconds = [times.seconds(number) for number in numbers]
        # the position of the input's camera also applies to the HR camera of the same view
        place = known.get((view.row, view.col), _locate_view(view))
        found.append(Candidate(place, numbers, seconds, timed=seconds is not None or not several))
    return found


def _make_lone_candidate(lr: LightField, ref: Clip, settings: ViewSettings) -> Candidate:
    """Return the candidate for a single reference camera at the position in the settings.

    Raises PairingError if the reference consists of several pictures, if the settings do not locate
    the camera, or if `ref_view` is outside the grid.
    """
    if isinstance(ref, Stills) and len(ref.files) > 1:
        raise PairingError(
            f"the names of the {len(ref.files)} pictures in {ref.path} contain no row and column; "
            "name the pictures like the input's views, or pass one of them with --ref-view"
        )
    place = _find_camera_position(lr, settings)
    index = scan(ref)
    if lr.grid.moments == 1:
        return Candidate(place, index.pts, None)
    if isinstance(ref, VideoClip):
        return Candidate(place, index.pts, [ref.seconds(pts) for pts in index.pts])
    stems = [Path(file).stem for file in ref.files]
    seconds = find_moment_times(lr, list_moment_names(ref)) or find_moment_times(lr, stems)
    return Candidate(place, index.pts, seconds, timed=seconds is not None)


def _find_camera_position(lr: LightField, settings: ViewSettings) -> CameraPosition:
    grid = lr.grid
    if settings.ref_position is not None:
        return CameraPosition(*settings.ref_position)
    if settings.ref_view is None:
        raise PairingError(
            f"it is not known which of the {len(grid.views)} views the reference shows; try "
            "--ref-view ROW,COL, --ref-view center, or --ref-position X,Y in grid steps"
        )
    (top, rows), (left, cols) = grid.rows, grid.cols
    shown = find_shown_view(lr, settings.ref_view)
    if shown is None:
        return CameraPosition(left + (cols - 1) / 2, top + (rows - 1) / 2)
    row, col = shown
    position = grid.at(row, col)
    if position is not None:
        return _locate_view(grid.views[position])
    if top <= row < top + rows and left <= col < left + cols:
        return CameraPosition(float(col), float(row), row, col)
    raise PairingError(
        f"--ref-view {row},{col} is outside the grid (rows {top} to {top + rows - 1}, columns "
        f"{left} to {left + cols - 1}); for a camera outside the grid, try --ref-position X,Y"
    )


def _pick_nearest_pairs(choices: list[ReferenceChoice]) -> list[tuple[int, int]]:
    """Return (frame number, reference number) for the few frames nearest to their references.

    The frame with the shortest distance on the grid comes first.
    """
    paired = [c for c in choices if c.ref_pts is not None and c.views is not None]
    paired.sort(key=lambda c: (c.views.steps if c.views and c.views.steps else 0.0, c.pts))
    return list_pairs(paired[:COMPARED_PAIRS])


def check_view_choice(
    choice: ReferenceChoice, views: ViewChoice, plan: Plan, existing: Set[int], path: str | Path
) -> ReferenceChoice:
    """Return a choice from the plan at `path`, marked "edited" if its HR view was changed.

    `views` is `choice.views`, and `existing` contains the numbers of the reference's frames. Raises
    InputError if a reference of the choice does not exist, or if `also` and `also_steps` differ in
    length.
    """
    ref = plan.reference.clip
    numbers = () if choice.ref_pts is None else (choice.ref_pts, *views.also)
    if not set(numbers) <= existing or len(views.also) != len(views.also_steps):
        raise InputError(
            f"in {path}, view ({views.row}, {views.col}) has the references {list(numbers)} and "
            f"also_steps {list(views.also_steps)}; expected numbers of frames of {ref.path}, which "
            f"has {len(existing)}, and one distance in also_steps for each reference except the "
            "first; correct that line"
        )
    if not isinstance(ref, LightField) or choice.ref_pts is None:
        return choice
    shown = ref.grid.views[ref.grid.place(choice.ref_pts)[0]]
    if (views.ref_row, views.ref_col) == (shown.row, shown.col) or shown.x is not None:
        return choice
    steps = round(((views.row - shown.row) ** 2 + (views.col - shown.col) ** 2) ** 0.5, 4)
    moved = replace(views, ref_row=float(shown.row), ref_col=float(shown.col), steps=steps)
    return replace(choice, why="edited", views=moved)


def list_moment_names(recording: Recording) -> list[str]:
    """Return the name of each moment's folder or sheet, or an empty list if there are none."""
    if not isinstance(recording, LightField):
        return [Path(file).parent.name for file in recording.files]
    grid = recording.grid
    if grid.layout == "folder":
        return [Path(file).parent.name for file in grid.views[0].files]
    if grid.sheets is not None:
        return [Path(file).stem for file in grid.sheets.files]
    return []


def find_moment_times(lr: LightField, names: Sequence[str]) -> list[float] | None:
    """Return the times in seconds of the input's moments with these names.

    The result is None if `names` is empty, if one of them is not the name of a moment, or if the
    input's moments do not all have different names.
    """
    times = ViewTimes(lr)
    known = {
        name: times.seconds(lr.grid.number(0, moment))
        for moment, name in enumerate(list_moment_names(lr))
    }
    if not names or len(known) < lr.grid.moments or not all(name in known for name in names):
        return None
    return [known[name] for name in names]
