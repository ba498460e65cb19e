"""The papers' protocol on the val and test splits.

* Light fields: LR is view (i, i), REF is view (0, 0).
* Clips: a key frame every 15 frames; the nearest one is the reference.
* Distances: one reference for each of the 15 frames after it.
* Stereo: each picture is enhanced with the other one.
* Faults: unusable references, which must not make the result worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluation.scenes import Case, EvaluationError, Picture, Scene, crop_to_multiple

KEY_FRAME_EVERY = 15
REACH = KEY_FRAME_EVERY // 2  # frames to the nearest key frame; frames farther away are left out
CLIPS = {"frog": "val", "monster": "test", "flower": "test"}
EXPOSURE = 0.6
BLUR_SIGMA = 2.0
DISPLACEMENT = 64
BORDERS = (
    "Truth and reference are cropped at the bottom and right to a multiple of the scale. Networks "
    "get pictures padded by replication to their multiple, and the padding is cropped from their "
    "output. All pixels count, including the borders. The outermost columns of frog and monster "
    "are black and count as well; the edge of that black is part of every gain on these clips."
)


@dataclass(frozen=True)
class Sampling:
    """Part of the data to measure."""

    stride: int = 1
    """Use every `stride`-th interval between two key frames of a clip."""
    views: tuple[int, ...] = (1, 3, 5, 7)
    distances: tuple[int, ...] = tuple(range(1, 16))
    starts: int = 4
    """Number of references in each clip, each for the 15 frames after it."""
    faults: int = 12
    """Number of frames of each clip to measure with each faulty reference."""
    street: int = 4
    """Use every `street`-th pair of neighbouring photographs from the street walk."""


# A few minutes: one interval of each clip
QUICK = Sampling(
    stride=1000, views=(1, 7), distances=(1, 2, 4, 7, 11, 15), starts=1, faults=2, street=14
)


class DataFolder:
    """Pictures and clips in a data folder; each clip is read once."""

    def __init__(self, folder: Path) -> None:
        """Use the data in `folder`. Raises EvaluationError if there is no such folder."""
        if not folder.is_dir():
            raise EvaluationError(
                f"found no folder {folder}, expected one with videos, lightfields and stereo; "
                "try --data with the folder that training uses"
            )
        self._folder = folder
        self._clips: dict[str, list[Picture]] = {}

    def read_picture(self, name: str) -> Picture:
        """Return a picture, uint8 H x W x 3 RGB.

        Raises EvaluationError if the file is missing or not a picture, and DataError if it is
        damaged.
        """
        path = self._folder / name
        # Checked first, because OpenCV prints a warning for missing files
        if not (path.is_file() and cv2.haveImageReader(str(path))):
            raise self._missing(name)
        return read_rgb(path)

    def read_clip(self, name: str) -> list[Picture]:
        """Return all frames of a clip. Raises EvaluationError if none can be read."""
        if name not in self._clips:
            capture = cv2.VideoCapture(str(self._folder / f"videos/{name}.mp4"))
            frames = []
            while (read := capture.read())[0]:
                frames.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8))
            if not frames:
                raise self._missing(f"videos/{name}.mp4")
            self._clips[name] = frames
        return self._clips[name]

    def find_names(self, pattern: str) -> list[str]:
        """Return the files that match `pattern`, sorted and relative to the folder.

        Raises EvaluationError if there are fewer than two.
        """
        names = sorted(str(path.relative_to(self._folder)) for path in self._folder.glob(pattern))
        if len(names) < 2:
            raise self._missing(pattern)
        return names

    def _missing(self, name: str) -> EvaluationError:
        return EvaluationError(
            f"found no readable {name} in {self._folder}, expected it there; "
            "try --groups with the groups whose data you have"
        )


def make_light_field_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the light field at x4 and x8; view (0, 0) is the reference of view (i, i)."""
    views = {i: data.read_picture(_view_path(i)) for i in (0, *sampling.views)}
    for scale in (4, 8):
        reference = crop_to_multiple(views[0], scale)
        cases = [
            Case(crop_to_multiple(views[i], scale), reference, f"({i},{i})", shown=True)
            for i in sampling.views
        ]
        yield Scene("lightfield", "stegosaurus", "val", scale, cases)


def make_clip_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield each clip at x4; the nearest key frame is the reference of every frame."""
    for name, split in CLIPS.items():
        frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(name)]
        cases = []
        for number, frame in enumerate(frames):
            key, distance = find_nearest_key(number, len(frames))
            chosen = number // KEY_FRAME_EVERY % sampling.stride == 0
            if chosen and 0 < distance <= REACH:
                cases.append(Case(frame, frames[key], str(distance), number))
        yield Scene("clips", name, split, 4, _mark_shown(cases, ("2", "7")), in_order=True)


def make_distance_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield each clip at x4, with frames at fixed distances after some references.

    Raises EvaluationError if a clip is shorter than the largest distance.
    """
    for name, split in CLIPS.items():
        frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(name)]
        last = len(frames) - 1 - max(sampling.distances)
        if last < 0:
            raise EvaluationError(
                f"found {len(frames)} frames in {name}.mp4, expected more than "
                f"{max(sampling.distances)}; try --groups without distances"
            )
        cases = [
            Case(frames[start + distance], frames[start], str(distance), start + distance)
            for start in np.unique(np.linspace(0, last, sampling.starts).astype(int)).tolist()
            for distance in sampling.distances
        ]
        yield Scene("distances", name, split, 4, _mark_shown(cases, ("1", "15")))


def make_stereo_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the stereo pair at x4; each picture is the reference of the other."""
    left, right = (
        crop_to_multiple(data.read_picture(f"stereo/motorcycle_{side}.png"), 4)
        for side in ("left", "right")
    )
    cases = [
        Case(left, right, "left from right", shown=True),
        Case(right, left, "right from left", shown=True),
    ]
    yield Scene("stereo", "motorcycle", "test", 4, cases)


def make_street_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield the street walk at x4; each photograph's reference is the one taken before it."""
    names = data.find_names("stereo/lund/*.jpg")
    cases: list[Case] = []
    for before, name in zip(names[:: sampling.street], names[1 :: sampling.street], strict=False):
        reference, truth = (crop_to_multiple(data.read_picture(n), 4) for n in (before, name))
        if reference.shape == truth.shape:
            cases.append(Case(truth, reference, Path(name).stem, shown=len(cases) < 2))
    yield Scene("street", "lund", "val", 4, cases)


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


def make_fault_scenes(data: DataFolder, sampling: Sampling) -> Iterator[Scene]:
    """Yield scenes at x4 whose references are unrelated, dark, blurred or displaced."""
    # A frame of flower, because the black columns of frog and monster would match each other
    other = data.read_clip("flower")[0]

    for name in ("frog", "monster"):
        frames = [crop_to_multiple(frame, 4) for frame in data.read_clip(name)]
        last = (len(frames) - 1) // KEY_FRAME_EVERY * KEY_FRAME_EVERY
        numbers = np.unique(np.linspace(1, max(last - 1, 1), sampling.faults).astype(int)).tolist()
        pairs = [
            (frames[number], frames[find_nearest_key(number, len(frames))[0]], number)
            for number in numbers
        ]
        yield Scene("faults", name, CLIPS[name], 4, _make_fault_cases(pairs, other))

    views = {i: crop_to_multiple(data.read_picture(_view_path(i)), 4) for i in (0, *sampling.views)}
    pairs = [(views[i], views[0], i) for i in sampling.views]
    yield Scene("faults", "stegosaurus", "val", 4, _make_fault_cases(pairs, other))


GROUPS: dict[str, Callable[[DataFolder, Sampling], Iterator[Scene]]] = {
    "lightfield": make_light_field_scenes,
    "clips": make_clip_scenes,
    "distances": make_distance_scenes,
    "stereo": make_stereo_scenes,
    "street": make_street_scenes,
    "faults": make_fault_scenes,
}


def load_scenes(data: DataFolder, groups: list[str], sampling: Sampling) -> list[Scene]:
    """Return the scenes of `groups`.

    Raises EvaluationError if a group is unknown, or if its data are missing or too short, and
    DataError if a picture is damaged.
    """
    for group in groups:
        if group not in GROUPS:
            raise EvaluationError(
                f"found no group '{group}', expected some of {', '.join(GROUPS)}; "
                f"try --groups {','.join(list(GROUPS)[:2])}"
            )
    return [scene for group in groups for scene in GROUPS[group](data, sampling)]


def find_nearest_key(number: int, frames: int) -> tuple[int, int]:
    """Return the key frame nearest to frame `number` in a clip of `frames`, and its distance."""
    last = (frames - 1) // KEY_FRAME_EVERY
    key = min(round(number / KEY_FRAME_EVERY), last) * KEY_FRAME_EVERY
    return key, abs(number - key)


def _view_path(i: int) -> str:
    return f"lightfields/lytro_stegosaurus/view_{i:02}_{i:02}.png"


def _fit_size(picture: Picture, like: Picture) -> Picture:
    size = (like.shape[1], like.shape[0])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _make_fault_cases(pairs: list[tuple[Picture, Picture, int]], other: Picture) -> list[Case]:
    """Return a case for each (truth, reference, frame number) and fault.

    The cases of the last frame number are shown on the contact sheet.
    """
    return [
        Case(truth, spoil(reference, other), fault, number, shown=number == pairs[-1][2])
        for truth, reference, number in pairs
        for fault, spoil in FAULTS.items()
    ]


def _mark_shown(cases: list[Case], conditions: tuple[str, ...]) -> list[Case]:
    """Return `cases`, with one case per condition in `conditions` marked as shown.

    It is the middle one of the cases with that condition.
    """
    chosen = set()
    for condition in conditions:
        matching = [case for case in cases if case.condition == condition]
        chosen |= {id(case) for case in matching[len(matching) // 2 :][:1]}
    return [Case(c.truth, c.reference, c.condition, c.frame, shown=id(c) in chosen) for c in cases]
