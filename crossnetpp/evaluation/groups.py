"""The groups of scenes that can be evaluated, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from crossnetpp.data.recorder import CAPTURES
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.faults import make_fault_scenes
from crossnetpp.evaluation.protocol import (
    make_clip_scenes,
    make_distance_scenes,
    make_light_field_scenes,
    make_stereo_scenes,
    make_street_scenes,
)
from crossnetpp.evaluation.recordings import make_recorded_scenes
from crossnetpp.evaluation.scenes import EvaluationError, Scene

GROUPS: dict[str, Callable[[DataFolder, Sampling], Iterator[Scene]]] = {
    "lightfield": make_light_field_scenes,
    "clips": make_clip_scenes,
    "distances": make_distance_scenes,
    "stereo": make_stereo_scenes,
    "street": make_street_scenes,
    "faults": make_fault_scenes,
    **{capture: partial(make_recorded_scenes, capture) for capture in CAPTURES},
}
PAPER_GROUPS = ("lightfield", "clips", "distances", "stereo", "street", "faults")


def load_scenes(data: DataFolder, groups: list[str], sampling: Sampling) -> list[Scene]:
    """Return the scenes of `groups` that `sampling` selects.

    Raises EvaluationError if a group is unknown, if its data are missing or too short, or if no
    scene is chosen, and DataError if a picture is damaged.
    """
    for group in groups:
        if group not in GROUPS:
            raise EvaluationError(
                f"found no group '{group}', expected one or more of {', '.join(GROUPS)}; "
                f"try --groups {','.join(list(GROUPS)[:2])}"
            )
    scenes = [scene for group in groups for scene in GROUPS[group](data, sampling)]
    chosen = [scene for scene in scenes if scene.cases]
    if not chosen:
        raise EvaluationError(
            f"found no scene in {', '.join(groups)} that fits the options; "
            "try other --scenes, a smaller --stride or other --positions"
        )
    return chosen
