"""The table of options: every settings field states its own help, section and metavar.

The command line, `RunOptions`, the variables PIPELINE_RUN_*, pipeline.toml, the columns of a
manifest and the table in docs/command-line.md are all derived from it.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

# Headings of `pipeline run --help`, in order. The first one needs no heading of its own.
SECTIONS = (
    "Options",
    "References",
    "Light fields",
    "Encoder",
    "Execution",
    "Output and logging",
)


@dataclass(frozen=True)
class Option:
    """How one settings field appears to users; stored in the field's `Annotated` metadata."""

    help: str
    section: str = SECTIONS[0]
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    """Spellings of the option, if they are not just `--field-name`."""
    is_text: bool = False
    """Whether the command line passes the text on unparsed, for a validator to parse."""
    python_type: str | None = None
    """The annotation in `RunOptions`, if Python callers may pass more than the field's own type."""


@dataclass(frozen=True)
class OptionField:
    """A settings field together with its option."""

    name: str
    annotation: Any
    """The type without `Annotated`; constraints such as Ge are in `constraints`."""
    constraints: tuple[Any, ...]
    default: Any
    option: Option

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the option's spellings on the command line."""
        return self.option.flags or (f"--{self.name.replace('_', '-')}",)


def find_option(field: FieldInfo) -> Option | None:
    """Return the option of a field, or None if users cannot set it by an option."""
    return next((item for item in field.metadata if isinstance(item, Option)), None)


def find_choices(annotation: Any) -> list[str]:
    """Return the words of the `Literal` types in an annotation."""
    if get_origin(annotation) is Literal:
        return [word for word in get_args(annotation) if isinstance(word, str)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [word for kind in get_args(annotation) for word in find_choices(kind)]
    return []


def list_options(*groups: type[BaseModel]) -> list[OptionField]:
    """Return the options of the groups in order, each field once."""
    found: dict[str, OptionField] = {}
    for group in groups:
        for name, field in group.model_fields.items():
            option = find_option(field)
            if option is None or name in found:
                continue

            found[name] = OptionField(
                name=name,
                annotation=field.annotation,
                constraints=tuple(item for item in field.metadata if item is not option),
                default=field.default,
                option=option,
            )

    return list(found.values())
