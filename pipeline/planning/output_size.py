"""Choose the size of the output, and the scale at which the network runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from pipeline.errors import InputError, PairingError
from pipeline.media.write.encoder import find_chroma_step
from pipeline.pairing.geometry import count_quarter_turns, swap_size
from pipeline.schema.clip import LightField, Recording, Stills
from pipeline.schema.frame_size import (
    SCALES,
    find_network_scale,
    find_pixel_aspect,
    is_possible_size,
)
from pipeline.schema.parsing import parse_size
from pipeline.schema.settings import PairingSettings

# Shortest side, in pixels, of an input that can be aligned with a reference.
LEAST_SIDE = 16

# Smallest ratio of the reference's side length to the input's at which there is detail to borrow.
LEAST_RATIO = 1.3

# Largest ratio of the output's side length to the reference's.
MOST_OVERSIZE = 2.2

_WIDE = Fraction(16, 9)


@dataclass(frozen=True)
class OutputSize:
    """The size of the output, and the scale at which the network runs."""

    scale: int
    """2, 4 or 8."""
    width: int
    """Stored width in pixels."""
    height: int
    """Stored height in pixels."""
    mark: str
    """The end of the output's default name, such as "x2" or "1920x1080"."""
    option: str = ""
    """The option that requests exactly this size, or "" if it may be rounded for an encoder."""
    note: str = ""
    """A sentence about the rounding, or "" if the size was not rounded."""

    def list_notes(self, lr: Recording, engine: str) -> tuple[str, ...]:
        """Return notes if the size was rounded or differs from the size of the network's frames."""
        made = lr.width * self.scale, lr.height * self.scale
        if (self.width, self.height) == made or engine == "bicubic":
            return (self.note,) if self.note else ()
        resized = (
            f"the network works at x{self.scale} ({made[0]}x{made[1]}), and its result is resized "
            f"to {self.width}x{self.height}"
        )
        return (resized, self.note) if self.note else (resized,)


def choose_size(lr: Recording, ref: Recording, settings: PairingSettings) -> OutputSize:
    """Return the output size from the settings, or else the size that suits `ref` best.

    Raises PairingError if the reference is too small, and InputError if the input is too small or
    the output cannot have the requested size.
    """
    if settings.size is not None and settings.scale != "auto":
        raise InputError(
            f"--size {settings.size} and --scale {settings.scale} are mutually exclusive; leave "
            "one out"
        )
    ratio = _compare_sizes(lr, ref)

    if settings.size is None and settings.scale == "auto":
        chosen = _choose_scale(lr, ref, ratio)
        return OutputSize(chosen, lr.width * chosen, lr.height * chosen, f"x{chosen}")

    if settings.size is None:
        option = f"--scale {settings.scale}"
        factor = Fraction(settings.scale)
        mark = f"x{settings.scale}"
        size = OutputSize(0, _round(lr.width * factor), _round(lr.height * factor), mark)
    else:
        option = f"--size {settings.size}"
        size = _resolve_size(lr, ref, settings.size)
    scale = find_network_scale(lr, size.width, size.height)
    if isinstance(lr, LightField) and not _is_whole(lr, size, scale):
        raise InputError(
            f"{option} cannot be used for a light field, which can only be enlarged by 2, 4 or 8; "
            "try --scale auto"
        )
    if scale is None or find_pixel_aspect(lr, size.width, size.height) is None:
        raise _refuse_size(lr, size, option)

    wanted = max(size.width / lr.width, size.height / lr.height)
    if ratio < wanted / MOST_OVERSIZE:
        other = "--size reference" if settings.size else "--scale auto"
        raise PairingError(
            f"the reference is only {ratio:.2g} times as large as the input, but {option} needs "
            f"one about {wanted:.2g} times as large; try {other}"
        )
    return replace(size, scale=scale)


def _is_whole(lr: Recording, size: OutputSize, scale: int | None) -> bool:
    """Return whether `size` equals the size of the network's frames."""
    return scale is not None and (size.width, size.height) == (lr.width * scale, lr.height * scale)


def _compare_sizes(lr: Recording, ref: Recording) -> float:
    """Return the ratio of the reference's side lengths to the input's (geometric mean).

    Raises PairingError if the reference is smaller, and InputError if the input is too small.
    """
    height, width = swap_size(ref, count_quarter_turns(lr, ref))
    across = width / lr.width
    down = height / lr.height
    if max(across, down) < 1.0:
        raise PairingError(
            f"the reference ({ref.width}x{ref.height}) is smaller than the input "
            f"({lr.width}x{lr.height}), but must be larger; are INPUT and --ref-stream swapped?"
        )
    if min(lr.width, lr.height) < LEAST_SIDE:
        raise InputError(
            f"the input is only {lr.width}x{lr.height}, but must be at least "
            f"{LEAST_SIDE}x{LEAST_SIDE}; try a larger recording"
        )
    return float((across * down) ** 0.5)


def _choose_scale(lr: Recording, ref: Recording, ratio: float) -> int:
    """Return the network scale nearest to `ratio`, the reference's size relative to the input's.

    Raises PairingError if the reference is hardly larger than the input.
    """
    if swap_size(ref, count_quarter_turns(lr, ref)) == (lr.height, lr.width):
        if isinstance(ref, Stills) and len(ref.files) > 1:
            raise PairingError(
                "these key frames have not been enlarged yet (they have the input's size "
                f"{lr.width}x{lr.height}); enlarge all by the same factor, 2 to 8"
            )
        raise PairingError(
            f"the reference has the input's size {lr.width}x{lr.height}; enlarge it, or choose "
            "another, 2, 4 or 8 times as large"
        )
    if ratio < LEAST_RATIO:
        raise PairingError(
            f"the reference ({ref.width}x{ref.height}) is hardly larger than the input "
            f"({lr.width}x{lr.height}), but should be about 2, 4 or 8 times as large; use a larger "
            "reference, --scale, or --size reference"
        )
    return min(SCALES, key=lambda scale: max(scale / ratio, ratio / scale))


def _resolve_size(lr: Recording, ref: Recording, name: str) -> OutputSize:
    """Return the size for a value of --size (1920x1080, 1080p or reference), with scale 0."""
    if name == "reference":
        height, width = swap_size(ref, count_quarter_turns(lr, ref))
        return _name_size(width, height)
    if name.endswith("p"):
        return _name_size(*_find_lines(lr, int(name[:-1])))

    # for a recording that is rotated for display, users may give the displayed or the stored size
    width, height = parse_size(name)
    if lr.rotation % 180 and find_pixel_aspect(lr, width, height) is None:
        width, height = height, width
    return _name_size(width, height, f"--size {name}")


def _name_size(width: int, height: int, option: str = "") -> OutputSize:
    return OutputSize(0, width, height, f"{width}x{height}", option)


def _find_lines(lr: Recording, lines: int) -> tuple[int, int]:
    """Return the width and height of an output with `lines` lines of square pixels.

    As in cameras and players, `lines` is the length of the shorter side: the height or, for an
    upright picture, the width.
    """
    aspect = _find_display_aspect(lr)
    long = max(aspect, 1 / aspect)
    found = []
    # 854x480 is called 16:9, although that is not its exact ratio
    for ratio in (_WIDE, long):
        other = 2 * _round(lines * ratio / 2)
        found.append((other, lines) if aspect >= 1 else (lines, other))
    return found[0] if find_pixel_aspect(lr, *found[0]) is not None else found[1]


def _find_display_aspect(lr: Recording) -> Fraction:
    return Fraction(lr.width, lr.height) * lr.sample_aspect_ratio


def _round(length: Fraction) -> int:
    """Return `length` rounded to the nearest whole number."""
    return int(length + Fraction(1, 2))


def _refuse_size(lr: Recording, size: OutputSize, option: str) -> InputError:
    """Return an error that explains why the output cannot have `size`, and suggests another."""
    aspect = lr.sample_aspect_ratio
    shape = "" if aspect == 1 else f" with a pixel aspect ratio of {aspect}"
    named = f"{size.width}x{size.height}"
    found = option if size.option else f"{option} ({named})"
    if find_pixel_aspect(lr, size.width, size.height) is None:
        problem = "does not have the proportions of the input"
    else:
        problem = "is not 1 to 8 times the size of the input"
    nearest = next(_list_fitting(lr, size), None)
    advice = f"try --size {nearest[0]}x{nearest[1]}" if nearest else "try --scale auto"
    return InputError(f"{found} {problem} ({lr.width}x{lr.height}{shape}); {advice}")


def _list_fitting(lr: Recording, size: OutputSize) -> Iterator[tuple[int, int]]:
    """Yield up to two possible sizes with even sides, both with the input's proportions.

    The first is the largest that fits inside `size`, and the second the largest or smallest
    possible one, whichever is nearer.
    """
    aspect = _find_display_aspect(lr)
    inside = min(Fraction(size.height), size.width / aspect)
    least = max(Fraction(lr.height), lr.width / aspect)
    most = min(Fraction(8 * lr.height), 8 * lr.width / aspect)
    for height in (inside, most if inside > most else least):
        found = 2 * _round(height * aspect / 2), 2 * _round(height / 2)
        if is_possible_size(lr, *found):
            yield found


def align_size(size: OutputSize, pix_fmt: str) -> OutputSize:
    """Return the size, rounded to multiples of the pixel format's chroma step.

    Raises InputError if the size would be rounded, but the user requested exactly this size.
    """
    columns, rows = find_chroma_step(pix_fmt)
    width, height = _align(size.width, columns), _align(size.height, rows)
    if (width, height) == (size.width, size.height):
        return size
    if size.option:
        raise InputError(
            f"{size.option} does not suit the pixel format {pix_fmt}, which needs multiples of "
            f"{columns}x{rows}; try --size {width}x{height}, or --pix-fmt yuv444p"
        )
    note = (
        f"the output is {width}x{height} instead of {size.width}x{size.height}, because the pixel "
        f"format {pix_fmt} needs multiples of {columns}x{rows}"
    )
    mark = size.mark if size.mark.startswith("x") else f"{width}x{height}"
    return replace(size, width=width, height=height, mark=mark, note=note)


def _align(length: int, step: int) -> int:
    """Return the multiple of `step` nearest to `length`; a tie goes to the lower one."""
    return -(-(2 * length - step) // (2 * step)) * step
