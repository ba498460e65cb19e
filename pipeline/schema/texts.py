"""The types of texts in plans and sidecars, which strangers may have written.

Each type limits what its text may contain.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field


def matching(pattern: str, longest: int) -> AfterValidator:
    """Return a validator that accepts texts of at most `longest` characters of the form `pattern`.

    Pydantic's own patterns would also reject names that are not UTF-8, but such files can be read.
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest or compiled.fullmatch(text) is None:
            raise ValueError(
                f"expected a text of at most {longest} characters of the form {pattern}"
            )
        return text

    return AfterValidator(check)


# The name of an encoder, a preset, a pixel format, a profile or an engine.
Word = Annotated[str, matching(r"[A-Za-z0-9_.+-]*", 100)]

# A path on this file system, or a URL.
PathText = Annotated[str, matching(r"[^\x00]*", 10_000)]

# The name of a file without its folder; "" for none.
FileName = Annotated[
    str,
    matching(r"(?:|[^./\x00][^/\x00]*|\.[^./\x00][^/\x00]*|\.\.[^/\x00]+)", 255),
]

# The seconds per tick of a recording's clock, such as 1/12800.
TimeBase = Annotated[str, matching(r"[1-9][0-9]{0,9}(?:/[1-9][0-9]{0,9})?", 21)]

# The pattern of the names of numbered pictures, such as %06d.png; "" for none.
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

# The template of views' names, with the fields that `pipeline.lightfield.names` supports.
ViewTemplate = Annotated[
    str,
    matching(r"(?:[^/{}\x00]|\{(?:row|col|index|x|y)(?::0?(?:[0-2]?[0-9]|3[0-2]))?\})*", 255),
]

# The letters that name the axes of an HDF5 data set.
Axes = Annotated[str, matching(r"[ntrchwWH34]*", 10)]

# The name of an HDF5 data set, including its groups.
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
