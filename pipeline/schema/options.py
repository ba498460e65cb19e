"""The table of options, made from settings fields that state their help, section and metavar.

The command line, `RunOptions`, the PIPELINE_RUN_* variables, the keys of pipeline.toml, the columns
of manifests and the table in docs/command-line.md are all derived from this table.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

Section = Literal[
    "Options", "References", "Light fields", "Encoder", "Execution", "Output and logging"
]
# Sections of `pipeline run --help`, in order. In the documentation, the first has no heading.
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Option:
    """How a settings field is shown to users; stored in the metadata of its `Annotated` type."""

    help: str
    section: Section = "Options"
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    """The option's spellings; empty means just `--field-name`."""
    is_planned: bool = True
    """Whether a plan may depend on the option, so that `pipeline plan` has it as well."""


@dataclass(frozen=True)
class OptionField:
    """A settings field together with its option."""

    name: str
    kinds: tuple[Any, ...]
    """The types that the field accepts, before parsing."""
    constraints: tuple[Any, ...]
    """The field's other metadata: constraints, such as Ge, and validators."""
    option: Option

    @property
    def flags(self) -> tuple[str, ...]:
        """The option's spellings on the command line."""
        return self.option.flags or (f"--{self.name.replace('_', '-')}",)

    @property
    def kind(self) -> Any:
        """The type that the option accepts besides None, or str if it accepts several types."""
        kinds = [kind for kind in self.kinds if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else str

    @property
    def choices(self) -> list[str]:
        """The words that the option accepts; empty if it also accepts other values."""
        if get_origin(self.kind) is not Literal:
            return []
        return [word for word in get_args(self.kind) if isinstance(word, str)]


def find_option(field: FieldInfo) -> Option | None:
    """Return a field's option, or None if it has none."""
    return next((item for item in field.metadata if isinstance(item, Option)), None)


def list_kinds(annotation: Any, metadata: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Return the types in an annotation (one, or the members of a union), without `Annotated`.

    For a type with a parser, these are the types that the parser accepts.
    """
    for item in metadata:
        if isinstance(item, BeforeValidator):
            return list_kinds(item.json_schema_input_type)

    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return list_kinds(inner, tuple(more))
    if origin in (Union, types.UnionType):
        return tuple(kind for member in get_args(annotation) for kind in list_kinds(member))
    return (annotation,)


def list_options(*groups: type[BaseModel]) -> list[OptionField]:
    """Return the options of all groups in order; a field in several groups appears once."""
    found: dict[str, OptionField] = {}
    for group in groups:
        for name, field in group.model_fields.items():
            option = find_option(field)
            if option is None or name in found:
                continue

            found[name] = OptionField(
                name=name,
                kinds=list_kinds(field.annotation, tuple(field.metadata)),
                constraints=tuple(item for item in field.metadata if item is not option),
                option=option,
            )

    return list(found.values())
