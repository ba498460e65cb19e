"""Scenes with faulty references, which must not make the result worse than bicubic.

In the lossless scenes, the reference of each case is faulty. In the recordings, all key frames are
faulty, so what methods measure from the key frames is faulty as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from crossnetpp.data.recorder import (
    CAPTURES,
    KEY_FRAME_EVERY,
    Capture,
    Encoder,
    Recorded,
    encode_and_decode,
    record_clip,
)
from crossnetpp.evaluation.data_folder import DataFolder, Sampling
from crossnetpp.evaluation.intervals import find_nearest_key, make_lossless_case
from crossnetpp.evaluation.protocol import CLIPS, find_view
from crossnetpp.evaluation.recordings import SCALE, make_recorded_cases
from crossnetpp.evaluation.scenes import Case, Material, Picture, Scene, crop_to_multiple

EXPOSURE = 0.6
BLUR_SIGMA = 2.0
DISPLACEMENT = 64  # pixels

LATE_FRAMES = 4
SHARPEN_SIGMA = 1.5  # pixels
SHARPEN_AMOUNT = 1.5
INVENTED_NOISE = 6.0  # 8-bit levels
LR_NOISE = 6.0
KEY_NOISE = 8.0

# Name -> function that returns a faulty reference, given a good one and a picture of another scene
FAULTS: dict[str, Callable[[Picture, Picture], Picture]] = {
    "unrelated": lambda reference, other: _fit_size(other, reference),
    f"exposure x{EXPOSURE}": lambda reference, other: np.asarray(
        np.rint(reference * EXPOSURE), np.uint8
    ),
    "blurred": lambda reference, other: np.asarray(
        cv2.GaussianBlur(reference, (0, 0), BLUR_SIGMA), np.uint8
    ),
    "displaced": lambda reference, other: np.roll(reference, DISPLACEMENT, axis=1),
}

# Name -> how the faulty recording is made
FAULTY_CAPTURES = {
    "other matrix": Capture(
        "area", 1.0, Encoder(20), 0.0, Encoder(2, "mpeg4", matrix="bt601", read_matrix="bt709")
    ),
    "noisy LR": Capture("area", LR_NOISE, Encoder(20), 0.0, Encoder(10)),
    "noisy keys": Capture("area", 1.0, Encoder(20), KEY_NOISE, Encoder(10)),
}
RECORDED_FAULTS = ("late", "generated", *FAULTY_CAPTURES, "two scenes")


def make_fault_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield lossless scenes and recordings at x4, with faulty references."""
    # From flower, because the black columns of frog and monster would match each other
    other = data.read_clip("videos/flower")[0]

    for name in ("frog", "monster"):
        if sampling.includes(name, CLIPS[name]):
            frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(f"videos/{name}")]
            cases = _make_lossless_cases(frames, other, sampling)
            yield Scene("faults", name, CLIPS[name], 4, cases)

    if sampling.includes("stegosaurus", "val"):
        views = {i: crop_to_multiple(data.read_picture(find_view(i)), 4) for i in sampling.views}
        first = crop_to_multiple(data.read_picture(find_view(0)), 4)
        pairs = [(view, first, i) for i, view in views.items()]
        yield Scene("faults", "stegosaurus", "val", 4, _spoil_pairs(pairs, other))

    for name, another in (("frog", "monster"), ("monster", "frog")):
        names = (name, f"{name}_recorded")
        if any(sampling.includes(word, CLIPS[name]) for word in names):
            paths = (f"videos/{clip}" for clip in (name, another))
            frames, others = (
                [crop_to_multiple(frame, SCALE) for frame in data.read_clip(p, sampling.frames)]
                for p in paths
            )
            cases = make_recorded_fault_cases(frames, others, other, sampling)
            yield Scene("faults", f"{name}_recorded", CLIPS[name], SCALE, cases)


def _make_lossless_cases(frames: list[Picture], other: Picture, sampling: Sampling) -> list[Case]:
    last = (len(frames) - 1) // KEY_FRAME_EVERY * KEY_FRAME_EVERY
    numbers = np.unique(np.linspace(1, max(last - 1, 1), sampling.faults).astype(int)).tolist()
    pairs = [
        (frames[number], frames[find_nearest_key(number, len(frames))[0]], number)
        for number in numbers
    ]
    return _spoil_pairs(pairs, other)


def _spoil_pairs(pairs: list[tuple[Picture, Picture, int]], other: Picture) -> list[Case]:
    """Return a case for each fault and each (truth, reference, frame number) in `pairs`.

    The contact sheet shows the cases of the last frame number.
    """
    material = Material(4)
    return [
        make_lossless_case(
            truth,
            spoil(reference, other),
            material,
            fault,
            frame=number,
            shown=number == pairs[-1][2],
        )
        for truth, reference, number in pairs
        for fault, spoil in FAULTS.items()
    ]


def make_recorded_fault_cases(
    frames: list[Picture], others: list[Picture], other: Picture, sampling: Sampling
) -> list[Case]:
    """Record `frames` with each kind of fault in the key frames, and return the cases.

    `others` are the frames of another clip, and `other` is an unrelated picture.
    """
    good = record_clip(frames, SCALE, CAPTURES["recorded"])
    recordings = {
        fault: good._replace(keys={n: spoil(key, other) for n, key in good.keys.items()})
        for fault, spoil in FAULTS.items()
    }
    recordings["late"] = good._replace(keys=_delay_keys(frames, good))
    recordings["generated"] = good._replace(keys=_invent_detail(good.keys))
    for fault, capture in FAULTY_CAPTURES.items():
        recordings[fault] = record_clip(frames, SCALE, capture)

    cases = []
    for fault, recorded in recordings.items():
        cases += _choose_cases(frames, recorded, fault, sampling)
    joined = _join_scenes(frames, others)
    return cases + _choose_cases(joined, _record_joined(joined), "two scenes", sampling)


def _choose_cases(
    frames: Sequence[Picture], recorded: Recorded, fault: str, sampling: Sampling
) -> list[Case]:
    """Return evenly spaced cases of a recording; the contact sheet shows only the last."""
    every = make_recorded_cases(frames, recorded, Sampling())
    if fault == "two scenes":
        # Keep only the cases whose nearest key frame shows the other scene
        cut = find_cut(len(frames))
        every = [c for c in every if c.frame < cut <= find_nearest_key(c.frame, len(frames))[0]]
    count = max(sampling.faults // 3, 1)
    numbers = np.unique(np.linspace(0, len(every) - 1, count).astype(int)).tolist()
    return [replace(every[n], condition=fault, shown=n == numbers[-1]) for n in numbers]


def _delay_keys(frames: list[Picture], recorded: Recorded) -> dict[int, Picture]:
    """Return key frames that were taken LATE_FRAMES frames later than their numbers indicate."""
    last = len(frames) - 1
    late = [frames[min(number + LATE_FRAMES, last)] for number in recorded.keys]
    encoder = CAPTURES["recorded"].key_encoder
    assert encoder is not None
    return dict(zip(recorded.keys, encode_and_decode(late, encoder), strict=True))


def _invent_detail(keys: dict[int, Picture]) -> dict[int, Picture]:
    """Return key frames with detail that no camera recorded, from an unsharp mask and noise."""
    rng = np.random.default_rng(0)
    made = {}
    for number, key in keys.items():
        soft = np.asarray(cv2.GaussianBlur(key, (0, 0), SHARPEN_SIGMA), np.float32)
        sharp = key + np.float32(SHARPEN_AMOUNT) * (key - soft)
        noise = np.float32(INVENTED_NOISE) * rng.standard_normal(key.shape, dtype=np.float32)
        made[number] = np.asarray((sharp + noise).round().clip(0, 255), np.uint8)
    return made


def find_cut(frames: int) -> int:
    """Return the number of the second scene's first frame.

    It comes directly before a key frame near the middle of a clip of `frames` frames.
    """
    return max(frames // 2 // KEY_FRAME_EVERY, 1) * KEY_FRAME_EVERY - 1


def _join_scenes(frames: list[Picture], others: list[Picture]) -> list[Picture]:
    """Return a clip that cuts from `frames` to `others`."""
    cut = find_cut(len(frames))
    return [*frames[:cut], *(_fit_size(picture, frames[0]) for picture in others[cut:])]


def _record_joined(joined: list[Picture]) -> Recorded:
    return record_clip(joined, SCALE, CAPTURES["recorded"])


def _fit_size(picture: Picture, like: Picture) -> Picture:
    size = (like.shape[1], like.shape[0])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
