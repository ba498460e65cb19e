"""Parse and check option values."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, ValidationError

from pipeline.errors import InputError
from pipeline.schema.model import Model

Group = TypeVar("Group", bound=Model)

_SIZE = re.compile(r"[1-9][0-9]{0,4}(?:x[1-9][0-9]{0,4}|p)")
_SIZE_NAMES = {"4k": "2160p", "8k": "4320p"}


def parse_seconds(text: str) -> float:
    """Return the number of seconds given by text such as "12.5", "1:02.5" or "-1:00:02".

    A minus sign applies to the whole time. Raises ValueError for other text.
    """
    stripped = text.strip()
    seconds = 0.0
    for part in stripped.removeprefix("-").split(":"):
        number = float(part)
        if math.copysign(1, number) < 0:
            raise ValueError("expected seconds or h:mm:ss, with a minus sign only at the beginning")
        seconds = 60 * seconds + number
    return 0.0 - seconds if stripped.startswith("-") else seconds


_MOST = 1_000_000  # largest accepted value; larger ones would overflow timers and limits


def read_number_variable(name: str, default: float, unit: str) -> float:
    """Return the number in an environment variable, or `default` if it is unset or empty.

    Raises InputError unless the number is above 0 and at most a million; the message contains
    `unit`, such as "seconds".
    """
    text = os.environ.get(name) or f"{default:g}"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST:
        raise InputError(
            f"{name} is {text}; set it to a number of {unit} above 0 and at most {_MOST:,.0f}, "
            f"such as {default:g}"
        )
    return value


def parse_pair(text: str, separator: str) -> tuple[int, int]:
    """Return the two integers in text such as "8x8" or "0,3"; raises ValueError for other text."""
    parts = text.lower().split(separator)
    if len(parts) != 2 or not all(part.strip().lstrip("-").isdecimal() for part in parts):
        raise ValueError(f"expected two whole numbers such as 8{separator}8")
    return int(parts[0]), int(parts[1])


def parse_size(text: str) -> tuple[int, int]:
    """Return the two integers in text such as "8x8"; raises ValueError for other text."""
    return parse_pair(text, "x")


def parse_place(text: str) -> tuple[int, int]:
    """Return the two integers in text such as "0,3"; raises ValueError for other text."""
    return parse_pair(text, ",")


def parse_scale(value: object) -> object:
    """Return an enlargement (a number from 1 to 8, or "auto") as text, such as "4" or "1.5".

    Raises ValueError for other numbers and text. Other types are returned unchanged, and rejected
    by pydantic.
    """
    if value == "auto" or isinstance(value, bool) or not isinstance(value, str | Real):
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 1 <= number <= 8:
        raise ValueError("expected auto, or a number from 1 to 8 such as 2, 3 or 1.5")
    return f"{number:.9g}"


def parse_frame_size(text: str) -> str:
    """Return a size such as "1920x1080", "1080p" or "reference", with "4k" replaced by "2160p".

    Raises ValueError for other text.
    """
    short = text.strip().lower()
    name = _SIZE_NAMES.get(short, short)
    if name != "reference" and not _SIZE.fullmatch(name):
        raise ValueError("expected a size such as 1920x1080, 1080p, 4k or reference")
    return name


def parsed_by(parse: Callable[[str], object], accepted: Any) -> BeforeValidator:
    """Return a validator that parses text with `parse` and leaves any other value unchanged.

    `accepted` is the type of all values that callers may pass, text included.
    """
    return BeforeValidator(
        lambda value: parse(value) if isinstance(value, str) else value,
        json_schema_input_type=accepted,
    )


def joined_by(separator: str) -> PlainSerializer:
    """Return a serializer that writes a tuple as text, joined by `separator`, as users type it."""

    def join(value: object) -> object:
        # fields that also accept words, such as ref_view, may contain one
        return separator.join(map(str, value)) if isinstance(value, tuple) else value

    return PlainSerializer(join, when_used="json")


def narrow_settings(settings: Model, group: type[Group]) -> Group:
    """Return the settings that belong to `group`; unset fields stay unset."""
    names = settings.model_fields_set & group.model_fields.keys()
    return group(**{name: getattr(settings, name) for name in names})


def check_settings(group: type[Group], values: dict[str, Any]) -> Group:
    """Return the settings of a group, given option values; None leaves a field at its default.

    Raises InputError, which names the option, if a value is invalid.
    """
    changed = {name: value for name, value in values.items() if value is not None}
    try:
        return group(**changed)
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"][:1]).replace("_", "-")
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{first['input']!r} is not a valid value for --{name}: {problem}; see --help"
        ) from error
