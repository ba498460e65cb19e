"""Defaults of options from a file, `pipeline.toml`, with one table for each command.

    [run]
    codec = "libx265"
    crf = 18

What is given on the command line wins over a variable (PIPELINE_RUN_CRF=18), that over the file,
and that over the default. The file is `--config FILE`, PIPELINE_CONFIG or ./pipeline.toml. `plan`
takes what [run] says too, so that it tells what a run would do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.cli.help import suggest
from pipeline.errors import InputError

NAME = "pipeline.toml"
PREFIX = "PIPELINE"
"""Of variables: PIPELINE_<COMMAND>_<OPTION>."""
SHARED = {"plan": "run"}
"""Command -> the command whose table holds for it as well."""


def read_configuration(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of the file; raises InputError for what is no table of values."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"found no readable configuration at {path} ({error.strerror}), expected a TOML file; "
            "check --config or PIPELINE_CONFIG"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"found no TOML in {path} ({error}), expected lines such as crf = 18 under [run]; "
            "mend that place"
        ) from error
    for name, table in data.items():
        if not isinstance(table, dict):
            raise InputError(
                f"found {name} outside a table in {path}, expected a heading such as [run] above "
                "it; put it there"
            )
    return data


class Configuration:
    """A file's defaults, handed out command by command, each name checked."""

    def __init__(self, path: Path, commands: list[str]) -> None:
        self._path = path
        self._tables = read_configuration(path)
        for table in self._tables:
            if table not in commands:
                raise InputError(
                    f"found [{table}] in {path}, expected a command{suggest(table, commands)}"
                    f"{'' if suggest(table, commands) else '; see `pipeline --help`'}"
                )

    def defaults(self, command: click.Command, load: Callable[[str], click.Command]) -> Defaults:
        """Return the defaults of one command by parameter name."""
        name = command.name or ""
        found = self._checked(name, command)
        shared = SHARED.get(name)
        if shared is not None:
            own = {parameter.name for parameter in command.params}
            lent = self._checked(shared, load(shared))
            found = {key: value for key, value in lent.items() if key in own} | found
        return found

    def _checked(self, name: str, command: click.Command) -> Defaults:
        options = {p.name: p for p in command.params if isinstance(p, click.Option) and p.name}
        # "json" is known to Python by another name
        spoken = {
            word.removeprefix("--").replace("-", "_"): key
            for key, option in options.items()
            for word in option.opts
            if word.startswith("--")
        }
        found: Defaults = {}
        for key, value in self._tables.get(name, {}).items():
            known = spoken.get(key.replace("-", "_"))
            if known is None:
                raise InputError(
                    f"found {key} under [{name}] in {self._path}, expected an option of "
                    f"`pipeline {name}`{suggest(key, spoken) or '; see its --help'}"
                )
            if isinstance(value, (dict, list)):
                raise InputError(
                    f"found {key} = {value!r} under [{name}] in {self._path}, expected one value; "
                    "write it as on the command line"
                )
            # as typed on the command line, so that the option's own checks hold
            found[known] = value if isinstance(value, bool) else str(value)
        return found


Defaults = dict[str, Any]


def find_configuration(given: str | None) -> Path | None:
    """Return the file to read: the one given, or ./pipeline.toml if there is one."""
    if given:
        return Path(given)
    here = Path(NAME)
    return here if here.is_file() else None
