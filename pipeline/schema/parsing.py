"""The parsing and checking of option values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, ValidationError

from pipeline.errors import InputError
from pipeline.schema.model import Model

Group = TypeVar("Group", bound=Model)


def parse_seconds(text: str) -> float:
    """Return the seconds of "12.5", "1:02.5" or "1:00:02"; raise ValueError for anything else."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_pair(text: str, separator: str) -> tuple[int, int]:
    """Return the two integers of "8x8" or "0,3"; raise ValueError for anything else."""
    parts = text.lower().split(separator)
    if len(parts) != 2 or not all(part.strip().lstrip("-").isdecimal() for part in parts):
        raise ValueError(f"expected two whole numbers such as 8{separator}8")
    return int(parts[0]), int(parts[1])


def parse_size(text: str) -> tuple[int, int]:
    """Return the two integers of "8x8"; raise ValueError for anything else."""
    return parse_pair(text, "x")


def parse_place(text: str) -> tuple[int, int]:
    """Return the two integers of "0,3"; raise ValueError for anything else."""
    return parse_pair(text, ",")


def parsed_by(parse: Callable[[str], object], accepted: Any) -> BeforeValidator:
    """Return the validator that parses text, and passes on any other value.

    `accepted` is the type of the values that callers may pass, text included.
    """
    return BeforeValidator(
        lambda value: parse(value) if isinstance(value, str) else value,
        json_schema_input_type=accepted,
    )


def joined_by(separator: str) -> PlainSerializer:
    """Return the serializer that writes a tuple in JSON as users type it."""

    def join(value: object) -> object:
        # in a union with words, those come here too
        return separator.join(map(str, value)) if isinstance(value, tuple) else value

    return PlainSerializer(join, when_used="json")


def narrow_settings(settings: Model, group: type[Group]) -> Group:
    """Return the settings that belong to `group`; those left at their default stay unset."""
    names = settings.model_fields_set & group.model_fields.keys()
    return group(**{name: getattr(settings, name) for name in names})


def check_settings(group: type[Group], values: dict[str, Any]) -> Group:
    """Return the settings made of option values; None leaves a field at its default.

    Raises InputError with the name of the invalid option.
    """
    changed = {name: value for name, value in values.items() if value is not None}
    try:
        return group(**changed)
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"][:1]).replace("_", "-")
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"found {first['input']!r} for --{name}, which is not valid: {problem}; see --help"
        ) from error
