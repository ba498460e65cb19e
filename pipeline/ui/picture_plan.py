"""Describe a plan to the page, as JSON and small pictures of frames and references.

The server runs `python -m pipeline.ui.picture_plan PLAN FOLDER` in a child process, because this
decodes recordings.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2

from pipeline.errors import PipelineError
from pipeline.pairing.rules import spread_evenly
from pipeline.pixels import to_8_bit
from pipeline.planning.cost_estimate import estimate_disk
from pipeline.recording import open_frames
from pipeline.report.stretches import find_stretches
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan

DESCRIPTION = "plan.json"
FRAMES = 8  # largest number of pictures of the input
REFERENCES = 8  # largest number of pictures of references
MOST_STRETCHES = 400  # on the timeline; any further ones are only counted
MOST_SEGMENTS = 200
THUMB_WIDTH = 240

# Reason for a choice -> the words that follow "20 frames" on the page.
MEANINGS = {
    "nearest": "borrowing from the nearest reference",
    "content": "borrowing from the most similar reference",
    "kept": "borrowing from the same reference as the previous frame",
    "edited": "borrowing from the reference that you chose",
    "given": "passing through unchanged, because the reference contains them",
    "cut": "with plain up-sampling: the references within reach show other scenes",
    "too far": "with plain up-sampling: every reference is too far away",
    "unlike": "with plain up-sampling: no reference is similar enough",
    "dark": "with plain up-sampling: the view shows nothing",
}


def describe(plan: Plan) -> dict[str, Any]:
    """Return the facts about a plan that the page shows, without pictures, as JSON values."""
    counts = Counter(choice.why for choice in plan.reference_map)
    total = len(plan.reference_map)
    served = sum(choice.ref_pts is not None for choice in plan.reference_map)
    disk = estimate_disk(plan)
    return {
        "kind": "views" if isinstance(plan.input, LightField) else "frames",
        "frames": total,
        "served": served,
        "several": sum(len(choice.references) > 1 for choice in plan.reference_map),
        "size": [plan.input.width, plan.input.height],
        "output_size": [plan.width, plan.height],
        "enlargement": plan.describe_enlargement(),
        "engine": plan.engine,
        "model": plan.model,
        "codec": plan.encoding.codec,
        "output": plan.output_url or str(Path(plan.output) / plan.pictures),
        "run": plan.output_url or plan.output,
        "select": plan.reference.select,
        "counts": [
            {"why": why, "frames": count, "meaning": MEANINGS.get(why, why)}
            for why, count in counts.most_common()
        ],
        "segments": [{"frames": segment.frames} for segment in plan.segments[:MOST_SEGMENTS]],
        "segment_count": len(plan.segments),
        "notes": list(plan.notes),
        "seconds": plan.expected_seconds,
        "disk_bytes": disk,
        "free_bytes": shutil.disk_usage(Path(plan.output).parent).free,
        **_describe_time(plan),
    }


def _describe_time(plan: Plan) -> dict[str, Any]:
    """Return the stretches of a clip's timeline, or the cells of a light field's grid."""
    if isinstance(plan.input, LightField):
        cells = []
        for choice in plan.reference_map:
            views = choice.views
            if views is None or views.moment:
                continue
            steps = None if choice.ref_pts is None else views.steps
            cells.append({"row": views.row, "col": views.col, "steps": steps, "why": choice.why})
        return {"stretches": [], "hidden_stretches": 0, "cells": cells}

    stretches = find_stretches(plan)
    shown = [
        {
            "first": each.first,
            "last": each.last,
            "begin": each.begin,
            "end": each.end,
            "reference": each.reference,
            "farthest": each.farthest,
            "nearness": round(each.nearness, 3),
            "why": each.why,
        }
        for each in stretches[:MOST_STRETCHES]
    ]
    return {"stretches": shown, "hidden_stretches": len(stretches) - len(shown), "cells": []}


def write_pictures(plan: Plan, folder: Path) -> dict[str, Any]:
    """Write small pictures of frames and references, and return their descriptions for the page."""
    choices = plan.reference_map
    numbers = spread_evenly(len(choices), FRAMES)
    frames = [(f"frame_{n}.jpg", choices[n].pts, {"frame": n}) for n in numbers]

    uses: dict[int, list[int]] = {}
    for number, choice in enumerate(choices):
        if choice.ref_pts is not None:
            uses.setdefault(choice.ref_pts, []).append(number)
    distinct = sorted(uses, key=lambda pts: uses[pts][0])
    references = [
        (f"ref_{n}.jpg", distinct[n], _describe_use(plan, distinct[n], uses[distinct[n]]))
        for n in spread_evenly(len(distinct), REFERENCES)
    ]
    return {
        "frame_pictures": _write_all(plan.input, frames, folder),
        "reference_pictures": _write_all(plan.reference.clip, references, folder),
        "reference_count": len(distinct),
    }


def _describe_use(plan: Plan, pts: int, frames: Sequence[int]) -> dict[str, Any]:
    light_field = isinstance(plan.input, LightField) or plan.reference.select == "view"
    seconds = None if light_field else plan.reference.clip.seconds(pts)
    return {"seconds": seconds, "frames": len(frames), "first": frames[0], "last": frames[-1]}


def _write_all(
    recording: Recording, wanted: Iterable[tuple[str, int, dict[str, Any]]], folder: Path
) -> list[dict[str, Any]]:
    """Write a picture for each name and pts, and return the name and facts of each picture.

    Frames that cannot be decoded are left out.
    """
    written = []
    with closing(open_frames(recording, cache=1, apart=True)) as reader:
        for name, pts, more in sorted(wanted, key=lambda item: item[1]):
            try:
                frame = to_8_bit(reader.get(pts)[..., :3])
            except PipelineError:
                continue
            height, width = frame.shape[:2]
            size = THUMB_WIDTH, max(1, round(height * THUMB_WIDTH / width))
            small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
            if done:
                (folder / name).write_bytes(data.tobytes())
                written.append({"name": name, **more})
    return written


def main(plan_file: str, target: str) -> None:
    """Replace the folder `target` with the description and the pictures of a plan."""
    folder = Path(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    plan = read_plan(plan_file)
    described = describe(plan) | write_pictures(plan, folder)
    (folder / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except PipelineError as error:
        sys.exit(f"error: {error}")
