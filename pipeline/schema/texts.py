"""String types for plans and sidecars, which may come from untrusted sources.

Each type restricts what its string may contain.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field


def matching(pattern: str, longest: int) -> AfterValidator:
    """Return a validator for strings of at most `longest` characters that match `pattern`.

    Pydantic's own patterns reject file names that are not valid UTF-8, but such files can be read.
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest or compiled.fullmatch(text) is None:
            raise ValueError(f"expected at most {longest} characters that match {pattern}")
        return text

    return AfterValidator(check)


_WORD = r"[A-Za-z0-9_.+-]*"
_LONGEST_WORD = 100

# The name of an encoder, a preset, a pixel format, a profile or an engine.
Word = Annotated[str, matching(_WORD, _LONGEST_WORD)]


def is_word(text: str) -> bool:
    """Return whether a string is a valid Word."""
    return len(text) <= _LONGEST_WORD and re.fullmatch(_WORD, text) is not None


# FFmpeg's comma-separated names of a container format, such as mov,mp4,m4a; "" for none.
Containers = Annotated[str, matching(r"[A-Za-z0-9_.,+-]*", 200)]

# A path on this file system, or a URL.
PathText = Annotated[str, matching(r"[^\x00]*", 10_000)]

# The name of a file without its folder; "" for none.
FileName = Annotated[
    str,
    matching(r"(?:|[^./\x00][^/\x00]*|\.[^./\x00][^/\x00]*|\.\.[^/\x00]+)", 255),
]

# The length of a tick of a recording's clock in seconds, such as 1/12800.
TimeBase = Annotated[str, matching(r"[1-9][0-9]{0,9}(?:/[1-9][0-9]{0,9})?", 21)]

_RATIO = re.compile(r"[0-9]{1,20}(?:/0{0,19}[1-9][0-9]{0,19}|\.[0-9]{1,20})?")


def check_ratio(value: object) -> object:
    """Return the value if it is a fraction, or the text of one, such as 30000/1001 or 29.97.

    Raises ValueError for anything else, such as 1e999999999, which would take hours to convert to a
    fraction.
    """
    if isinstance(value, Fraction) or (isinstance(value, str) and _RATIO.fullmatch(value)):
        return value
    raise ValueError("expected a ratio of the form 30000/1001, 25 or 29.97")


# A ratio of two whole numbers, such as a frame rate.
Ratio = Annotated[Fraction, BeforeValidator(check_ratio)]

# The name pattern of numbered pictures, such as %06d.png; "" for none.
PicturePattern = Annotated[
    str,
    matching(
        (
            r"(?:(?:[^/%\x00]|%%)*%(?:0[1-9])?d(?:[^/%\x00]|%%)*"
            r"\.(?i:png|tif|tiff|exr))?"
        ),
        255,
    ),
]

# The template of view names, with the fields that `pipeline.lightfield.names` supports.
ViewTemplate = Annotated[
    str,
    matching(r"(?:[^/{}\x00]|\{(?:row|col|index|x|y)(?::0?(?:[0-2]?[0-9]|3[0-2]))?\})*", 255),
]

# The axes of an HDF5 dataset, one letter each; see `Grid.axes`.
Axes = Annotated[str, matching(r"[ntrchwWH34]*", 10)]

# The name of an HDF5 dataset, including its groups.
DataSetName = Annotated[str, matching(r"[^\x00]*", 1000)]

# A SHA-256 digest; "" for none.
Digest = Annotated[str, matching(r"[0-9a-f]{0,64}", 100)]

# A mastering display in x265's notation; "" for none.
MasteringDisplay = Annotated[
    str,
    matching(
        (
            r"(?:G\([0-9]{1,10},[0-9]{1,10}\)B\([0-9]{1,10},[0-9]{1,10}\)"
            r"R\([0-9]{1,10},[0-9]{1,10}\)WP\([0-9]{1,10},[0-9]{1,10}\)"
            r"L\([0-9]{1,10},[0-9]{1,10}\))?"
        ),
        200,
    ),
]

# A luminance in cd/m2.
Luminance = Annotated[int, Field(ge=0, lt=1 << 32)]
