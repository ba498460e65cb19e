"""Measure the VMAF of 8- and 16-bit recordings; failures raise the pipeline's errors."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from crossnetpp import vmaf
from crossnetpp.vmaf import LEAST_SIDE, find_program
from pipeline.errors import InputError, StageError
from pipeline.pixels import to_8_bit

__all__ = ["LEAST_SIDE", "Vmaf", "find_program", "require_program"]


def require_program() -> str:
    """Return the path of a program that measures VMAF. Raises InputError if there is none."""
    found = find_program()
    if found is None:
        raise InputError(
            "found no ffmpeg program with the libvmaf filter, which VMAF needs; try "
            "`pip install imageio-ffmpeg`, which contains one"
        )
    return found


class Vmaf(vmaf.Vmaf):
    """A running measurement: `add` all pairs in presentation order, then call `scores`."""

    def __init__(self, ffmpeg: str, height: int, width: int, matrix: str = "bt709") -> None:
        """Start the program `ffmpeg`; `matrix` is the `Colour.used_matrix` of the recordings.

        Raises InputError if the frames are too small.
        """
        if min(height, width) < LEAST_SIDE:
            raise InputError(
                f"the frames are {width}x{height}, but VMAF needs at least "
                f"{LEAST_SIDE}x{LEAST_SIDE}; leave --vmaf out"
            )
        super().__init__(ffmpeg, height, width, matrix)

    def __enter__(self) -> Vmaf:
        return self

    def add(self, made: NDArray[Any], truth: NDArray[Any]) -> None:
        """Measure `made` against `truth`, each uint8 or uint16 H x W x 3 RGB.

        Raises StageError if the program fails.
        """
        try:
            super().add(to_8_bit(made), to_8_bit(truth))
        except vmaf.VmafError as error:
            raise StageError(str(error)) from error

    def scores(self) -> list[float]:
        """Return the VMAF (0 to 100) of each pair. Raises StageError if the program fails."""
        try:
            return super().scores()
        except vmaf.VmafError as error:
            raise StageError(str(error)) from error
