"""What a recording may claim to be before memory is asked for it."""

from __future__ import annotations

import os

from pipeline.errors import InputError, MediaError

VARIABLE = "PIPELINE_MAX_MEGAPIXELS"
DEFAULT_MEGAPIXELS = 256.0
"""16384 x 16384: more than any encoder here takes, and 0.8 GB for a frame of 8-bit RGB."""


def largest_picture() -> float:
    """Return how many pixels a picture may have; InputError for a limit that is no number."""
    text = os.environ.get(VARIABLE) or str(DEFAULT_MEGAPIXELS)
    try:
        return float(text) * 2**20
    except ValueError:
        raise InputError(f"found {VARIABLE}={text}, expected a number of megapixels") from None


def check_size(width: int, height: int, path: str) -> None:
    """Refuse a header whose picture would not fit; raises MediaError.

    A crafted file of a hundred bytes may claim any size.
    """
    limit = largest_picture()
    if width <= 0 or height <= 0:
        raise MediaError(f"{path} says it is {width}x{height}; expected a picture; copy it again")
    if width * height > limit:
        raise MediaError(
            f"{path} says it is {width}x{height}; expected at most {limit / 2**20:g} megapixels; "
            f"if you trust it, set {VARIABLE}"
        )
