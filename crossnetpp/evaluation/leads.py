"""How far methods lead over a baseline: scene means, worst pictures, and losses."""

from __future__ import annotations

import numpy as np

from crossnetpp.data.recorder import CAPTURES
from crossnetpp.evaluation.figures import SceneResult, collect_gains
from crossnetpp.evaluation.markdown import render_table

LOSS = 0.1  # dB; a picture that is worse by more than this counts as a loss


def list_leads(result: SceneResult, method: str, baseline: str) -> list[float]:
    """Return the lead (RGB PSNR, dB) of `method` over `baseline` for each picture of a scene."""
    return collect_gains([result], method, over=baseline)


def average_lead(results: list[SceneResult], method: str, baseline: str) -> float | None:
    """Return the mean of the scenes' mean leads in dB, or None if nothing was measured."""
    leads = [lead for result in results if (lead := list_leads(result, method, baseline))]
    return float(np.mean([np.mean(lead) for lead in leads])) if leads else None


def select_clips(results: list[SceneResult], group: str, split: str = "test") -> list[SceneResult]:
    """Return the results of the clips in one split of a group of recordings."""
    return [r for r in results if r.group == group and r.split == split and r.is_clip]


def render_leads(results: list[SceneResult], methods: list[str], baseline: str) -> str:
    """Return a table with the lead in dB of all methods over `baseline` for each scene.

    If a group of recordings has several test clips, its last row is their mean.
    """
    others = [name for name in methods if name not in ("bicubic", baseline)]
    rows = []
    for group in dict.fromkeys(result.group for result in results):
        inside = [result for result in results if result.group == group]
        for result in inside:
            scene = f"{group} {result.name} ({result.split}) x{result.scale}"
            cells = [_format_leads(list_leads(result, name, baseline)) for name in others]
            rows.append([scene, str(len(result.measured)), *cells])
        clips = select_clips(results, group) if group in CAPTURES else []
        if len(clips) > 1:
            means = [average_lead(clips, name, baseline) for name in others]
            count = str(sum(len(clip.measured) for clip in clips))
            cells = ["-" if mean is None else f"**{mean:+.2f}**" for mean in means]
            rows.append([f"**{group}, mean of {len(clips)} test clips**", count, *cells])
    caption = (
        f"Mean lead in dB; in brackets, the worst picture, and how many pictures lose more than "
        f"{LOSS:g} dB."
    )
    return f"{caption}\n\n" + render_table(["scene", "images", *others], rows)


def _format_leads(leads: list[float]) -> str:
    losing = sum(lead < -LOSS for lead in leads)
    verb = "loses" if losing == 1 else "lose"
    return f"{np.mean(leads):+.2f} ({min(leads):+.2f}, {losing} {verb})"
