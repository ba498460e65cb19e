"""Realistic recordings: one group of scenes for each simulated camera in `CAPTURES`.

Clips have a key frame every 15 frames (sintel: every 9), and both neighbouring key frames are the
references of a frame. The downscaling kernel is measured at the instants that both LR and HR show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crossnetpp.data.recorder import CAPTURES, KEY_FRAME_EVERY, Recorded, record_clip
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.intervals import (
    find_nearest_key,
    find_neighbouring_keys,
    mark_shown,
)
from crossnetpp.evaluation.protocol import find_view
from crossnetpp.evaluation.scenes import (
    Case,
    Material,
    Moment,
    Picture,
    Reference,
    Scene,
    crop_to_multiple,
)

SCALE = 4


class Source(NamedTuple):
    """A clip to record."""

    split: str
    path: str
    """The clip's path without its suffix, or a glob pattern of its frames."""
    every: int = KEY_FRAME_EVERY


# Name -> clip
SOURCES = {
    "frog": Source("val", "videos/frog"),
    "coffee": Source("val", "clips/coffee"),
    "bug": Source("val", "clips/bug"),
    "monster": Source("test", "videos/monster"),
    "flower": Source("test", "videos/flower"),
    "bottle": Source("test", "clips/bottle"),
    "asl_again": Source("test", "clips/asl_again"),
    # Ten frames, of which the first and the last are key frames
    "sintel": Source("test", "frames_sintel/*.png", 9),
}


def make_recorded_scenes(capture: str, data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the clips as recorded by `capture`.

    For `sensor`, the stereo pair and the light field follow.
    """
    for name, source in SOURCES.items():
        if not sampling.includes(name, source.split):
            continue
        frames = read_source(data, source, sampling)
        recorded = record_clip(frames, SCALE, CAPTURES[capture], every=source.every)
        cases = make_recorded_cases(frames, recorded, sampling, source.every)
        cases = mark_shown(cases, ("2", str(source.every // 2)))
        yield Scene(capture, name, source.split, SCALE, cases, in_order=True)
    if capture == "sensor":
        yield from _make_pictures(capture, data, sampling)


def read_source(data: DataFolder, source: Source, sampling: Sampling) -> list[Picture]:
    """Return the frames of a clip, cropped to multiples of SCALE."""
    if source.path.endswith("*.png"):
        frames = [data.read_picture(name) for name in data.find_names(source.path)]
    else:
        frames = data.read_clip(source.path, sampling.frames)
    return [crop_to_multiple(frame, SCALE) for frame in frames]


def make_recorded_cases(
    truths: Sequence[Picture],
    recorded: Recorded,
    sampling: Sampling,
    every: int = KEY_FRAME_EVERY,
) -> list[Case]:
    """Return cases for the chosen frames of a recording.

    The references are the key frames before and after the frame, and the condition is the distance
    to the nearest key frame.
    """
    moments = (Moment(n, recorded.lr[n], hr) for n, hr in recorded.keys.items())
    material = Material(SCALE, tuple(moments))
    cases = []
    for number, truth in enumerate(truths):
        _, distance = find_nearest_key(number, len(truths), every)
        interval, position = divmod(number, every)
        chosen = not sampling.positions or position in sampling.positions
        if interval % sampling.stride or not chosen or not 0 < distance <= every // 2:
            continue
        keys = find_neighbouring_keys(number, len(truths), every)
        references = tuple(Reference(recorded.keys[key], abs(key - number)) for key in keys)
        lr = recorded.lr[number]
        cases.append(Case(truth, lr, references, material, str(distance), number))
    return cases


def _make_pictures(capture: str, data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the stereo pair and the light field, recorded by `capture`."""
    if sampling.includes("motorcycle", "test"):
        paths = [f"stereo/motorcycle_{side}.png" for side in ("left", "right")]
        left, right = (crop_to_multiple(data.read_picture(path), SCALE) for path in paths)
        small = record_clip((left, right), SCALE, CAPTURES[capture]).lr
        # No instant is known at both resolutions
        material = Material(SCALE)
        cases = [
            Case(left, small[0], (Reference(right),), material, "left from right", shown=True),
            Case(right, small[1], (Reference(left),), material, "right from left", shown=True),
        ]
        yield Scene(capture, "motorcycle", "test", SCALE, cases)

    if sampling.includes("stegosaurus", "val"):
        views = {i: data.read_picture(find_view(i)) for i in (0, *sampling.views)}
        for scale in (4, 8):
            cropped = [crop_to_multiple(view, scale) for view in views.values()]
            small = record_clip(cropped, scale, CAPTURES[capture]).lr
            given = Moment(0, small[0], cropped[0])
            material = Material(scale, (given,))
            reference = (Reference(given.hr),)
            cases = [
                Case(truth, lr, reference, material, f"({i},{i})", shown=True)
                for i, truth, lr in zip(views, cropped, small, strict=True)
                if i
            ]
            yield Scene(capture, "stegosaurus", "val", scale, cases)
