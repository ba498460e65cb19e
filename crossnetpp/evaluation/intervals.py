"""Find key frames and their intervals, and make lossless cases."""

from __future__ import annotations

from dataclasses import replace

from crossnetpp.data.degradation import degrade
from crossnetpp.data.recorder import KEY_FRAME_EVERY
from crossnetpp.evaluation.scenes import Case, Material, Picture, Reference


def find_nearest_key(number: int, frames: int, every: int = KEY_FRAME_EVERY) -> tuple[int, int]:
    """Return the number of the key frame nearest to frame `number`, and its distance in frames.

    The clip has `frames` frames, and a key frame every `every` frames.
    """
    last = (frames - 1) // every
    key = min(round(number / every), last) * every
    return key, abs(number - key)


def find_neighbouring_keys(number: int, frames: int, every: int = KEY_FRAME_EVERY) -> list[int]:
    """Return the numbers of the key frames before and after frame `number`, the nearest first.

    For a frame after the last key frame, only that key frame is returned; for a key frame, only the
    frame itself.
    """
    before = number // every * every
    keys = [before, before + every] if number % every else [before]
    return sorted((key for key in keys if key < frames), key=lambda key: abs(key - number))


def make_lossless_case(
    truth: Picture,
    reference: Picture,
    material: Material,
    condition: str,
    *,
    frame: int = 0,
    distance: int = 0,
    shown: bool = False,
) -> Case:
    """Return a case whose LR is `truth` after bicubic downscaling."""
    lr = degrade(truth, material.scale)
    given = (Reference(reference, distance),)
    return Case(truth, lr, given, material, condition, frame, shown)


def mark_shown(cases: list[Case], conditions: tuple[str, ...]) -> list[Case]:
    """Return `cases` with the middle case of each condition in `conditions` marked as shown."""
    chosen = set()
    for condition in conditions:
        matching = [case for case in cases if case.condition == condition]
        chosen |= {id(case) for case in matching[len(matching) // 2 :][:1]}
    return [replace(case, shown=id(case) in chosen) for case in cases]
