"""Defaults of options from a file, `pipeline.toml`, with one table for each command.

    [run]
    codec = "libx265"
    crf = 18

The command line wins over a variable (PIPELINE_RUN_CRF=18), a variable over the file, and the file
over the option's default. The file is `--config FILE`, PIPELINE_CONFIG or ./pipeline.toml. `plan`
also reads the table of `run`, so that it shows what a run would do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.cli.help import suggest
from pipeline.errors import InputError

FILE_NAME = "pipeline.toml"
VARIABLE_PREFIX = "PIPELINE"  # of PIPELINE_<COMMAND>_<OPTION>
SHARED_TABLES = {"plan": "run"}  # command -> another command whose defaults it shares

Defaults = dict[str, Any]


class Configuration:
    """The defaults in a file, for one command at a time; every name in it is checked."""

    def __init__(self, path: Path, commands: list[str]) -> None:
        self._path = path
        self._tables = read_tables(path)
        for table in self._tables:
            if table not in commands:
                raise InputError(
                    f"found [{table}] in {path}, expected a command"
                    f"{suggest(table, commands) or '; see `pipeline --help`'}"
                )

    def find_defaults(
        self, command: click.Command, load: Callable[[str], click.Command]
    ) -> Defaults:
        """Return the defaults of a command by parameter name; `load` returns another command.

        Raises InputError for an option that the command does not have.
        """
        name = command.name or ""
        defaults = self._read_table(name, command)

        shared = SHARED_TABLES.get(name)
        if shared is not None:
            own = {parameter.name for parameter in command.params}
            inherited = self._read_table(shared, load(shared))
            defaults = {key: value for key, value in inherited.items() if key in own} | defaults
        return defaults

    def _read_table(self, name: str, command: click.Command) -> Defaults:
        """Return the table of a command by parameter name."""
        # as spelled on the command line: the parameter of --json has another name
        parameters = {
            flag.removeprefix("--").replace("-", "_"): parameter.name
            for parameter in command.params
            if isinstance(parameter, click.Option) and parameter.name
            for flag in parameter.opts
            if flag.startswith("--")
        }

        defaults: Defaults = {}
        for key, value in self._tables.get(name, {}).items():
            parameter_name = parameters.get(key.replace("-", "_"))
            if parameter_name is None:
                raise InputError(
                    f"found {key} under [{name}] in {self._path}, expected an option of "
                    f"`pipeline {name}`{suggest(key, parameters) or '; see its --help'}"
                )
            if isinstance(value, (dict, list)):
                raise InputError(
                    f"found {key} = {value!r} under [{name}] in {self._path}, expected one value; "
                    "write it as on the command line"
                )
            # as text, so that the option parses and checks it
            defaults[parameter_name] = value if isinstance(value, bool) else str(value)
        return defaults


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of a file; raises InputError if it contains anything else."""
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
            "correct that line"
        ) from error

    for name, table in data.items():
        if not isinstance(table, dict):
            raise InputError(
                f"found {name} outside a table in {path}, expected it under a heading such as "
                "[run]; add the heading above it"
            )
    return data


def find_configuration(path: str | None) -> Path | None:
    """Return the file to read: `path`, else ./pipeline.toml if it exists, else None."""
    if path:
        return Path(path)
    local = Path(FILE_NAME)
    return local if local.is_file() else None
