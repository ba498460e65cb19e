"""The papers' protocol on the val and test splits, lossless and with one reference.

* Light fields: LR is view (i, i), and the reference is view (0, 0).
* Clips: every 15th frame is a key frame, and the nearest key frame is the reference.
* Distances: a frame is the reference of each of the 15 frames after it.
* Stereo: each picture is enhanced with the other one.
* Street: each photograph is enhanced with the one taken before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crossnetpp.data.recorder import KEY_FRAME_EVERY
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.intervals import (
    find_nearest_key,
    make_lossless_case,
    mark_shown,
)
from crossnetpp.evaluation.scenes import (
    Case,
    EvaluationError,
    Material,
    Scene,
    crop_to_multiple,
)

REACH = KEY_FRAME_EVERY // 2  # frames farther than this from every key frame are left out
CLIPS = {"frog": "val", "monster": "test", "flower": "test"}


def make_light_field_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the light field at x4 and x8; view (0, 0) is the reference of view (i, i)."""
    if not sampling.includes("stegosaurus", "val"):
        return
    views = {i: data.read_picture(find_view(i)) for i in (0, *sampling.views)}
    for scale in (4, 8):
        reference = crop_to_multiple(views[0], scale)
        material = Material(scale)
        cases = [
            make_lossless_case(
                crop_to_multiple(views[i], scale), reference, material, f"({i},{i})", shown=True
            )
            for i in sampling.views
        ]
        yield Scene("lightfield", "stegosaurus", "val", scale, cases)


def make_clip_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield each clip at x4; each frame's reference is the nearest key frame."""
    for name, split in CLIPS.items():
        if not sampling.includes(name, split):
            continue
        frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(f"videos/{name}")]
        material = Material(4)
        cases = []
        for number, frame in enumerate(frames):
            key, distance = find_nearest_key(number, len(frames))
            chosen = number // KEY_FRAME_EVERY % sampling.stride == 0
            if chosen and 0 < distance <= REACH:
                case = make_lossless_case(
                    frame, frames[key], material, str(distance), frame=number, distance=distance
                )
                cases.append(case)
        yield Scene("clips", name, split, 4, mark_shown(cases, ("2", "7")), in_order=True)


def make_distance_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield each clip at x4, with frames at fixed distances after a few references.

    Raises EvaluationError if a clip is shorter than the largest distance.
    """
    for name, split in CLIPS.items():
        if not sampling.includes(name, split):
            continue
        frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(f"videos/{name}")]
        last = len(frames) - 1 - max(sampling.distances)
        if last < 0:
            raise EvaluationError(
                f"found the clip {name} with {len(frames)} frame{'s' * (len(frames) != 1)}, "
                f"expected more than {max(sampling.distances)}; try --groups without distances"
            )
        material = Material(4)
        cases: list[Case] = [
            make_lossless_case(
                frames[start + distance],
                frames[start],
                material,
                str(distance),
                frame=start + distance,
                distance=distance,
            )
            for start in np.unique(np.linspace(0, last, sampling.starts).astype(int)).tolist()
            for distance in sampling.distances
        ]
        yield Scene("distances", name, split, 4, mark_shown(cases, ("1", "15")))


def make_stereo_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the stereo pair at x4; each picture is the reference of the other."""
    if not sampling.includes("motorcycle", "test"):
        return
    left, right = (
        crop_to_multiple(data.read_picture(f"stereo/motorcycle_{side}.png"), 4)
        for side in ("left", "right")
    )
    material = Material(4)
    cases = [
        make_lossless_case(left, right, material, "left from right", shown=True),
        make_lossless_case(right, left, material, "right from left", shown=True),
    ]
    yield Scene("stereo", "motorcycle", "test", 4, cases)


def make_street_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the street walk at x4; each photograph's reference is the one taken before it."""
    if not sampling.includes("lund", "val"):
        return
    names = data.find_names("stereo/lund/*.jpg")
    material = Material(4)
    cases: list[Case] = []
    for before, name in zip(names[:: sampling.street], names[1 :: sampling.street], strict=False):
        reference, truth = (crop_to_multiple(data.read_picture(n), 4) for n in (before, name))
        if reference.shape == truth.shape:
            condition = Path(name).stem
            shown = len(cases) < 2
            cases.append(make_lossless_case(truth, reference, material, condition, shown=shown))
    yield Scene("street", "lund", "val", 4, cases)


def find_view(i: int) -> str:
    """Return the path of view (i, i) of the light field."""
    return f"lightfields/lytro_stegosaurus/view_{i:02}_{i:02}.png"
