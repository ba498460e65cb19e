"""Requirements that the results should meet, which are the rows of the summary table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from crossnetpp.evaluation.faults import FAULTS, RECORDED_FAULTS
from crossnetpp.evaluation.figures import SceneResult, collect_gains
from crossnetpp.evaluation.leads import LOSS, average_lead, list_leads, select_clips

MIN_LEAD = 1.0  # dB by which a method must exceed `classical` in every group

# Minimum gain over bicubic in dB with a faulty reference, on average and for every picture
MIN_FAULT_MEAN = -0.05
MIN_FAULT_WORST = -0.3

# Group of recordings -> minimum mean lead in dB over the method `against` on the test clips
MIN_PROGRESS = {"recorded": 1.8, "sensor": 1.5, "bicubic": 0.5}
# Group of recordings -> minimum lead in dB over `classical` on every test clip
MIN_RECORDED_LEAD = {"recorded": 1.0, "sensor": 0.7}

# Method -> the same network without a second stage; the last pair is trained with
# configs/ablation.yaml
ONE_STAGE = {"paper": "crossnet", "two_stages": "one_stage"}

# Method -> the same network trained with the super-resolution loss alone
SR_LOSS = {"two_stages": "sr_loss"}


@dataclass(frozen=True)
class Requirement:
    """A quantity in dB, and the minimum that a method must achieve."""

    what: str
    least: float
    figure: Callable[[list[SceneResult], str], float | None]
    """A function of the results and a method that returns the quantity, or None if it was not
    measured."""


class Row(NamedTuple):
    """A requirement, with the values of all methods for which it was measured."""

    what: str
    least: float
    figures: dict[str, float]

    def met(self, method: str) -> bool:
        """Return whether `method` meets the requirement."""
        return self.figures[method] >= self.least


def summarise_results(
    results: list[SceneResult], methods: list[str], against: str | None = None
) -> list[Row]:
    """Return a row for each requirement that was measured for at least one of `methods`.

    `against` is the method with which recordings are compared, in addition to `classical`.
    """
    rows = []
    for requirement in (*_list_requirements(), *_list_recorded_requirements(against)):
        found = {method: requirement.figure(results, method) for method in methods}
        figures = {method: value for method, value in found.items() if value is not None}
        if figures:
            rows.append(Row(requirement.what, requirement.least, figures))
    return rows


def _list_requirements() -> list[Requirement]:
    # Gain over bicubic
    gain = "gain over bicubic"
    rows = [
        Requirement(
            f"{gain}, clip {name} x4, key frame every 15", least, _mean(group="clips", name=name)
        )
        for name, least in {"frog": 4.5, "monster": 4.5, "flower": 2.5}.items()
    ]
    rows += [
        Requirement(
            f"{gain}, light field x8 {view}",
            least,
            _mean(group="lightfield", scale=8, condition=view),
        )
        for view, least in {"(1,1)": 10.0, "(7,7)": 6.0}.items()
    ]
    rows.append(Requirement(f"{gain}, stereo x4", 3.0, _mean(group="stereo")))

    # Lead over the classical baseline
    groups: dict[str, dict[str, Any]] = {
        "light field x4": {"group": "lightfield", "scale": 4},
        "light field x8": {"group": "lightfield", "scale": 8},
        "clips x4": {"group": "clips"},
        "clips x4, 1 to 15 frames after": {"group": "distances"},
        "stereo x4": {"group": "stereo"},
    }
    rows += [
        Requirement(f"above classical, {name}", MIN_LEAD, _mean(over="classical", **where))
        for name, where in groups.items()
    ]

    # Faulty references
    for fault in (*FAULTS, *RECORDED_FAULTS):
        where = {"group": "faults", "condition": fault}
        rows.append(Requirement(f"mean gain, reference {fault}", MIN_FAULT_MEAN, _mean(**where)))
        rows.append(
            Requirement(f"worst picture, reference {fault}", MIN_FAULT_WORST, _worst(**where))
        )

    # Ablations
    rows.append(Requirement("two stages above one, light field (7,7)", 0.0, _lead_of_second_stage))
    rows.append(
        Requirement(
            "warped reference, hybrid loss above super-resolution loss alone",
            0.0,
            _lead_of_hybrid_loss,
        )
    )
    return rows


def _list_recorded_requirements(against: str | None) -> list[Requirement]:
    """Return the requirements for the test clips in the groups of recordings."""
    rows = []
    if against is not None:
        for group, least in MIN_PROGRESS.items():
            rows.append(
                Requirement(
                    f"above {against}, {group}", least, partial(_lead_on_clips, group, against)
                )
            )
            rows.append(
                Requirement(
                    f"worst frame against {against}, {group}",
                    -LOSS,
                    partial(_worst_on_clips, group, against),
                )
            )
    for group, least in MIN_RECORDED_LEAD.items():
        what = f"above classical, {group}, weakest clip"
        rows.append(Requirement(what, least, partial(_least_lead_on_clips, group)))
    return rows


def _lead_on_clips(
    group: str, baseline: str, results: list[SceneResult], method: str
) -> float | None:
    if method == baseline:
        return None
    return average_lead(select_clips(results, group), method, baseline)


def _worst_on_clips(
    group: str, baseline: str, results: list[SceneResult], method: str
) -> float | None:
    if method == baseline:
        return None
    clips = select_clips(results, group)
    return min(
        (lead for clip in clips for lead in list_leads(clip, method, baseline)), default=None
    )


def _least_lead_on_clips(group: str, results: list[SceneResult], method: str) -> float | None:
    if method == "classical":
        return None
    leads = [average_lead([clip], method, "classical") for clip in select_clips(results, group)]
    return min((lead for lead in leads if lead is not None), default=None)


def _mean(**where: Any) -> Callable[[list[SceneResult], str], float | None]:
    return partial(_reduce_gains, np.mean, where)


def _worst(**where: Any) -> Callable[[list[SceneResult], str], float | None]:
    return partial(_reduce_gains, np.min, where)


def _reduce_gains(
    reduce: Callable[[list[float]], Any],
    where: dict[str, Any],
    results: list[SceneResult],
    method: str,
) -> float | None:
    if method == where.get("over"):
        return None
    values = collect_gains(results, method, **where)
    return float(reduce(values)) if values else None


def _lead_of_second_stage(results: list[SceneResult], method: str) -> float | None:
    """Return the mean gain in dB of two stages over one stage for view (7,7); None if unknown."""
    if method not in ONE_STAGE:
        return None
    where = {"over": ONE_STAGE[method], "group": "lightfield", "condition": "(7,7)"}
    return _reduce_gains(np.mean, where, results, method)


def _lead_of_hybrid_loss(results: list[SceneResult], method: str) -> float | None:
    """Return by how many dB the hybrid loss raises the mean PSNR of the warped reference.

    The result is None if this was not measured.
    """
    if method not in SR_LOSS:
        return None
    pairs = [
        (m.figures[method].warped, m.figures[SR_LOSS[method]].warped)
        for result in results
        if result.group != "faults"
        for m in result.measured
        if {method, SR_LOSS[method]} <= m.figures.keys()
    ]
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return float(np.mean(known)) if known else None
