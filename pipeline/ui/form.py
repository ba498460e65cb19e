"""Describe the options of a run to the page, and turn their values into arguments.

Like the command line, this is derived from the table of options.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, get_origin

from pipeline.errors import InputError
from pipeline.schema.options import SECTIONS, OptionField, list_options
from pipeline.schema.settings import OPTION_GROUPS

# Options that the page always shows; all others are under "More options".
COMMON = ("size", "scale", "quality", "max_ref_distance", "start", "end")
# Options that the page omits: the reference has its own card, and a job has only one input.
ELSEWHERE = ("ref_stream", "adapt_together")


def list_fields() -> list[OptionField]:
    """Return the options that the page offers."""
    return [field for field in list_options(*OPTION_GROUPS) if field.name not in ELSEWHERE]


def describe_options() -> list[dict[str, Any]]:
    """Return what the page needs to draw a control for each option, in display order."""
    fields = {field.name: field for field in list_fields()}
    common = [fields[name] for name in COMMON]
    others = [field for field in fields.values() if field.name not in COMMON]
    others.sort(key=lambda field: SECTIONS.index(field.option.section))
    return [_describe(field, is_common=True) for field in common] + [
        _describe(field, is_common=False) for field in others
    ]


def _describe(field: OptionField, *, is_common: bool) -> dict[str, Any]:
    is_number = field.kind in (int, float)
    return {
        "name": field.name,
        "label": field.name.replace("_", " ").capitalize(),
        "flag": field.flags[-1].split("/")[0],
        "help": field.option.help,
        "section": field.option.section,
        "common": is_common,
        "kind": "flag" if field.kind is bool else "number" if is_number else "text",
        "whole": field.kind is int,
        "choices": field.choices,
        "hint": field.option.metavar or "",
        "path": any(get_origin(kind) is PathLike for kind in field.kinds),
    }


def check_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options whose values are not blank, without surrounding whitespace.

    Raises InputError for unknown options, and for values that are not text or contain NUL. The
    command that receives the other values checks whether they are valid.
    """
    known = {field.name for field in list_fields()}
    found = {}
    for name, value in options.items():
        if name not in known or not isinstance(value, str):
            raise InputError(
                f"{name[:40]!r} is not one of the page's options, or its value is not text; reload "
                "the page"
            )
        if "\0" in value:
            raise InputError(f"the option {name} contains a NUL character; remove it")
        if value.strip():
            found[name] = value.strip()
    return found


def make_arguments(options: Mapping[str, str], *, planned_only: bool = False) -> list[str]:
    """Return the arguments of `pipeline run` for the given options, a map from names to text.

    With `planned_only`, they are arguments of `pipeline plan`, which lacks some of these options.
    """
    arguments = []
    for field in list_fields():
        value = options.get(field.name)
        if value is None or (planned_only and not field.option.is_planned):
            continue
        flag = field.flags[-1]
        if field.kind is bool:
            on, _, off = flag.partition("/")
            if value == "true":
                arguments.append(on)
            elif off:
                arguments.append(off)
        else:
            arguments.append(f"{flag}={value}")
    return arguments
