"""The cases of the media contract, which cover nearly every possible pair of property values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from itertools import combinations

import numpy as np

from jobs.media.bars import HEIGHT, WIDTH

# container -> kind of pixels -> encoder, which always writes the recording losslessly
_CODECS = {
    "mp4": {"8": "libx264", "10": "libx265", "gray": "libx264", "rgb": "libx264rgb"},
    "mov": {"8": "libx264", "10": "libx265", "gray": "libx264", "rgb": "png"},
    "mkv": {"8": "libx264", "10": "libx265", "gray": "ffv1", "rgb": "ffv1"},
    "webm": {"8": "libvpx-vp9", "rgb": "libvpx-vp9"},
    "avi": {"8": "ffv1", "10": "ffv1", "gray": "ffv1", "rgb": "ffv1"},
    "ts": {"8": "libx264", "10": "libx265", "rgb": "libx264rgb"},
}
_RGB = {"libx264rgb": "rgb24", "png": "rgb24", "ffv1": "bgr0", "libvpx-vp9": "gbrp"}
_INTRA = frozenset({"ffv1", "png"})
_ROTATING = frozenset({"mp4", "mov", "mkv"})  # containers that can store a display matrix
_ROTATED_SHAPES = frozenset({"90", "180", "270", "mirrored"})
# extra -> the containers that can hold it
_EXTRAS = {
    "none": frozenset(_CODECS),
    "text": frozenset({"mp4", "mov", "mkv", "webm"}),
    "bitmap": frozenset({"mp4", "mkv", "ts"}),
    "chapters": frozenset({"mp4", "mov", "mkv", "webm"}),
    "attachment": frozenset({"mkv"}),
    "cover": frozenset({"mp4", "mov", "mkv"}),
    "data": frozenset({"ts"}),
    "timecode": frozenset({"mp4", "mov"}),
}


@dataclass(frozen=True)
class Case:
    """The properties of one recording, and the container of its output."""

    container: str = "mkv"
    target: str = "same"
    """The output's container: `same` as the input's, or another container's suffix."""
    rate: str = "constant"
    start: str = "zero"
    groups: str = "b-frames"
    shape: str = "even"
    frames: int = 7
    pixels: str = "yuv420p"
    colour: str = "bt709 limited"
    audio: int = 0
    extra: str = "none"

    @property
    def name(self) -> str:
        """The container, followed by all properties that differ from a plain recording's."""
        plain = Case()
        words = [str(self.container)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != getattr(plain, field.name):
                words.append(f"{value} {field.name}" if isinstance(value, int) else str(value))
        return ", ".join(words)

    @property
    def kind(self) -> str:
        """The kind of pixels, which determines the recording's encoder."""
        if self.pixels in ("gray", "rgb"):
            return self.pixels
        return "10" if "10" in self.pixels else "8"

    @property
    def codec(self) -> str:
        """The encoder of the recording."""
        return _CODECS[self.container][self.kind]

    @property
    def pix_fmt(self) -> str:
        """The pixel format of the recording."""
        return _RGB[self.codec] if self.pixels == "rgb" else self.pixels

    @property
    def width_height(self) -> tuple[int, int]:
        """The width and the height of the recording in pixels."""
        return (WIDTH + 1, HEIGHT + 1) if self.shape == "odd" else (WIDTH, HEIGHT)

    @property
    def suffix(self) -> str:
        """The suffix of the output."""
        if self.target != "same":
            return f".{self.target}"
        return ".mkv" if self.container == "avi" else f".{self.container}"


# every property of a recording, and its values in the matrix
VALUES: dict[str, tuple[object, ...]] = {
    "container": tuple(_CODECS),
    "target": ("same", "mkv", "mp4", "mov"),
    "rate": ("constant", "variable", "ntsc"),
    "start": ("zero", "positive", "edit list"),
    "groups": ("b-frames", "open", "intra"),
    "shape": ("even", "odd", "anamorphic", "90", "180", "270", "mirrored"),
    "frames": (1, 2, 7, 14),
    "pixels": (
        "yuv420p", "yuv422p", "yuv444p", "gray", "rgb",
        "yuv420p10le", "yuv422p10le", "yuv444p10le",
    ),
    "colour": (
        "bt601 limited", "bt601 full", "bt709 limited", "bt709 full",
        "bt2020 limited", "bt2020 full", "untagged", "pq", "hlg",
    ),
    "audio": (0, 1, 3),
    "extra": tuple(_EXTRAS),
}  # fmt: skip


def is_possible(case: Case) -> bool:
    """Return whether a recording with these properties can exist."""
    container = case.container
    codec = _CODECS[container].get(case.kind)
    if codec is None:
        return False

    subsampled = "420" in case.pixels or "422" in case.pixels
    return (
        not (case.target in (container, "same") and case.target != "same")
        and not (case.container == "ts" and case.target == "same" and case.shape in _ROTATED_SHAPES)
        and container in _EXTRAS[case.extra]
        and not (case.shape in _ROTATED_SHAPES and container not in _ROTATING)
        and not (case.shape == "odd" and subsampled and codec in ("libx264", "libx265"))
        and not (container == "avi" and (case.rate == "variable" or case.start != "zero"))
        and not (case.rate == "ntsc" and container in ("ts",))
        and not (case.start == "edit list" and container not in ("mp4", "mov"))
        and not (case.start == "edit list" and case.frames < 7)
        and not (case.groups != "intra" and codec in _INTRA)
        and not (case.groups == "open" and codec == "libvpx-vp9")
        and not (case.colour in ("pq", "hlg") and case.kind != "10")
        and not (case.pixels == "rgb" and case.colour != "untagged")
        and not (case.pixels == "gray" and case.colour != "bt709 limited")
    )


def cover_pairs(count: int, seed: int = 1) -> list[Case]:
    """Return `count` distinct cases, chosen greedily to cover many pairs of property values.

    The first cases are plain. Each further case is the one of 20 random cases that adds the most
    new pairs.
    """
    random = np.random.default_rng(seed)
    seen: set[tuple[object, ...]] = set()
    chosen: dict[Case, None] = {}
    for case in _plain_cases():
        chosen[case] = None
        seen |= set(_pairs(case))

    while len(chosen) < count:
        new = [case for case in _draw_cases(random, 20) if case not in chosen]
        if new:
            best = max(new, key=lambda case: len(set(_pairs(case)) - seen))
            chosen[best] = None
            seen |= set(_pairs(best))
    return list(chosen)[:count]


def _plain_cases() -> Iterator[Case]:
    """Yield a plain case for each container, in which faults are easy to trace."""
    for container in _CODECS:
        groups = "intra" if container == "avi" else "b-frames"
        yield Case(container=container, groups=groups, audio=1)


def _draw_cases(random: np.random.Generator, count: int) -> list[Case]:
    found: list[Case] = []
    while len(found) < count:
        drawn = {name: values[random.integers(len(values))] for name, values in VALUES.items()}
        case = Case(**drawn)  # type: ignore[arg-type]
        if is_possible(case):
            found.append(case)
    return found


def _pairs(case: Case) -> Iterator[tuple[object, ...]]:
    values = list(enumerate(astuple(case)))
    return combinations(values, 2)
