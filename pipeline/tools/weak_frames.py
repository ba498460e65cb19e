"""Find the frames that a finished run's key frames helped least, for `keyframes --add`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ledger.plan_beside import plan_path
from pipeline.media.pictures.numbered import check_comparable
from pipeline.pairing.given import list_given_frames
from pipeline.pairing.rules import spread_evenly
from pipeline.progress import SILENT, Reporter
from pipeline.report.checks import find_output
from pipeline.report.rows import FinishedRun, FramePictures
from pipeline.report.without_truth import measure_agreement, warp_reference
from pipeline.schema.clip import Clip, Stills
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan

MOST_FRAMES = 120  # frames that are compared with their references, which needs optical flow
APART = 0.5  # seconds between two proposed frames of a scene


@dataclass(frozen=True)
class WeakFrames:
    """The frames at which further key frames would help most."""

    pts: tuple[int, ...]
    folder: str
    """The run's folder of key frames."""
    command: str
    """The command that repeats the run."""


def find_weak_frames(
    run: Path, clip: Clip, count: int, *, progress: Reporter = SILENT
) -> WeakFrames:
    """Return up to `count` frames of a finished run that its key frames helped least.

    `run` is the output or the plan beside it, and `clip` the recording from which it was made. A
    reference helps a frame if it shows a large part of the frame, and if the fine detail of the
    result agrees with it there. Raises InputError if the output was not made from the clip, if its
    reference is not a folder of pictures, or if every frame already has a key frame.
    """
    output = find_output(run)
    check_comparable(output, "--add")
    plan = read_plan(plan_path(output) if run == output else run)
    _check_run(plan, clip, output)

    shown = list_given_frames(plan)  # the frames that key frames show
    others = [number for number in range(len(plan.reference_map)) if number not in shown]
    if not others:
        raise InputError(f"every frame of {output} has a key frame already, so none can be added")
    numbers = [others[position] for position in spread_evenly(len(others), MOST_FRAMES)]
    served = []
    with (
        FinishedRun(plan, output, None) as finished,
        progress.step("comparing frames with their references", len(numbers)) as done,
    ):
        for number in numbers:
            served.append(_measure_service(finished.read_pictures(number)))
            done(len(served))

    pts = [plan.reference_map[number].pts for number in numbers]
    seconds = [clip.seconds(each) for each in pts]
    scenes = [bisect_right(plan.cuts, each) for each in pts]
    chosen = choose_weakest(served, seconds, scenes, count)
    command = plan.record.command if plan.record else ""
    return WeakFrames(
        pts=tuple(pts[position] for position in chosen),
        folder=plan.reference.clip.path,
        command=command if "--force" in command.split() else f"{command} --force",
    )


def choose_weakest(
    served: Sequence[float], seconds: Sequence[float], scenes: Sequence[int], count: int
) -> list[int]:
    """Return the positions of up to `count` frames with the lowest values in `served`.

    The positions are in ascending order. Chosen frames of the same scene are at least APART seconds
    apart. Ties, such as between frames without a reference, are resolved in favour of the frame
    nearest the middle of its scene.
    """
    spans: dict[int, list[float]] = {}
    for scene, at in zip(scenes, seconds, strict=True):
        spans.setdefault(scene, []).append(at)

    def rank(position: int) -> tuple[float, float]:
        span = spans[scenes[position]]
        return served[position], abs(seconds[position] - (span[0] + span[-1]) / 2)

    chosen: list[int] = []
    for position in sorted(range(len(served)), key=rank):
        if len(chosen) == count:
            break
        if all(
            scenes[position] != scenes[other] or abs(seconds[position] - seconds[other]) >= APART
            for other in chosen
        ):
            chosen.append(position)
    return sorted(chosen)


def _check_run(plan: Plan, clip: Clip, output: Path) -> None:
    if plan.input.fingerprint != clip.fingerprint:
        raise InputError(
            f"{output} was not made from {clip.path} but from {plan.input.path}; pass the input of "
            "that run"
        )
    reference = plan.reference.clip
    if not isinstance(reference, Stills) or not Path(reference.path).is_dir():
        raise InputError(
            f"the reference {reference.path} of {output} is not a folder of pictures, so no key "
            "frames can be added to it; choose key frames without --add"
        )


def _measure_service(pictures: FramePictures) -> float:
    """Return how much the references helped a frame, from 0 (not at all) to 1 (everywhere).

    It is the visible share of the frame times the agreement of fine detail, for the better of two
    references. The agreement counts as 1 where there is too little detail to compare.
    """
    best = 0.0
    for reference in (pictures.reference, pictures.second):
        if reference is None:
            continue
        warped = warp_reference(reference, pictures.bicubic)
        agreement = measure_agreement(pictures.result, warped)
        share = float(warped.seen.mean())
        best = max(best, share * (1.0 if agreement is None else max(agreement, 0.0)))
    return best
