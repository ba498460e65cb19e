"""Read default option values from a file, `pipeline.toml`, with one table per command.

    [run]
    codec = "libx265"
    crf = 18

An option on the command line takes precedence over an environment variable (PIPELINE_RUN_CRF=18),
a variable over the file, and the file over the option's default. The file is `--config FILE` or
PIPELINE_CONFIG. If neither is set, two files are read: ./pipeline.toml, which takes precedence, and
the user's own file, such as ~/.config/crossnetpp-pipeline/pipeline.toml. `plan` also reads the
table of `run`, so that it shows what a run would do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from deploy.distribution import DISTRIBUTION
from pipeline.cli.help import suggest
from pipeline.errors import InputError
from pipeline.paths import describe_special, read_limited

FILE_NAME = "pipeline.toml"
VARIABLE_PREFIX = "PIPELINE"  # prefix of environment variables: PIPELINE_<COMMAND>_<OPTION>
_MOST_BYTES = 16_000_000
SHARED_TABLES = {"plan": "run"}  # command -> another command whose defaults it shares

# Options that a file in the current folder must not set, because the file may be untrusted. These
# options decide what is replaced, where data are written or processed, and what is trusted or run.
DANGEROUS = frozenset(
    {
        *("force", "output", "out", "report", "save", "contact_sheet", "sandbox", "plan"),
        *("manifest", "address", "runner", "installed", "stop", "data", "set", "model"),
        *("exec", "watch", "host", "port", "folder", "opens", "open", "needs_token", "token"),
    }
)

Defaults = dict[str, Any]


@dataclass(frozen=True)
class ConfigurationFile:
    """A file of defaults, and whether the user chose it."""

    path: Path
    is_chosen: bool
    """Whether the user named the file, or it is in the user's home or configuration folder."""


class Configuration:
    """The default option values in a configuration file.

    The constructor raises InputError if the file is invalid, or if one of its tables is not named
    after a command.
    """

    def __init__(self, file: ConfigurationFile, commands: list[str]) -> None:
        path = file.path
        self._path = path
        self._is_chosen = file.is_chosen
        self._tables = read_tables(path)
        self._names: dict[str, str] = {}  # parameter -> its name as the file spells it
        for table in self._tables:
            if table not in commands:
                raise InputError(
                    f"[{table}] in {path} is not the name of a command"
                    f"{suggest(table, commands) or '; see `pipeline --help`'}"
                )

    def find_defaults(
        self, command: click.Command, load: Callable[[str], click.Command]
    ) -> Defaults:
        """Return a command's defaults by parameter name; `load` returns a command by its name.

        Raises InputError if the file sets an option that the command does not have, sets an option
        to anything but a single value, or to true or false although it is no flag, or sets one that
        a file in the current folder must not set.
        """
        name = command.name or ""
        defaults = self._read_table(name, command)

        shared = SHARED_TABLES.get(name)
        if shared is not None:
            own = {parameter.name for parameter in command.params}
            inherited = self._read_table(shared, load(shared))
            defaults = {key: value for key, value in inherited.items() if key in own} | defaults
        return defaults

    def describe_use(self, defaults: Defaults) -> str | None:
        """Return a note that lists `defaults`; None if empty, or if the user chose the file."""
        if self._is_chosen or not defaults:
            return None
        names = sorted(self._names[name] for name in defaults)
        return f"{self._path} in this folder sets {', '.join(names)}"

    def _read_table(self, name: str, command: click.Command) -> Defaults:
        """Return the defaults in the table `name` for a command, by parameter name."""
        # keys in the file are spelled like options, whose parameters may have other names
        parameters = {
            flag.removeprefix("--").replace("-", "_"): parameter
            for parameter in command.params
            if isinstance(parameter, click.Option) and parameter.name
            for flag in parameter.opts
            if flag.startswith("--")
        }

        defaults: Defaults = {}
        for key, value in self._tables.get(name, {}).items():
            parameter = parameters.get(key.replace("-", "_"))
            if parameter is None:
                raise InputError(
                    f"{key} under [{name}] in {self._path} is not an option of `pipeline {name}`"
                    f"{suggest(key, parameters) or '; see its --help'}"
                )
            if isinstance(value, (dict, list)):
                raise InputError(
                    f"{key} = {value!r} under [{name}] in {self._path} is not a single value; "
                    "write it as on the command line"
                )
            if isinstance(value, bool) and not parameter.is_flag:
                # click would convert true to the number 1
                raise InputError(
                    f"{key} = {str(value).lower()} under [{name}] in {self._path} is not a value "
                    f"of --{key.replace('_', '-')}; write it as on the command line, or leave it "
                    "out"
                )
            if not self._is_chosen and _is_dangerous(key.replace("-", "_"), str(value)):
                raise InputError(
                    f"{self._path} in this folder must not set {key}, under [{name}]; set it on "
                    f"the command line, or pass --config {self._path} if you trust the file"
                )
            assert parameter.name is not None
            self._names[parameter.name] = key
            # pass text, so that the option parses and checks it
            defaults[parameter.name] = value if isinstance(value, bool) else str(value)
        return defaults


def _is_dangerous(name: str, value: str) -> bool:
    """Return whether a file in the current folder must not set the option `name` to `value`."""
    if name == "adapt":
        from pipeline.adaptation.request import names_file  # imported here: few files set adapt

        return names_file(value)  # a file of weights is as dangerous as one for --model
    return name in DANGEROUS


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables in a TOML file.

    Raises InputError if the file cannot be read, or if it contains anything except tables.
    """
    if describe_special(str(path)) in ("device", "terminal"):
        raise InputError(f"{path} is a device, but must be a TOML file; check --config")
    try:
        data = tomllib.loads(read_limited(path, _MOST_BYTES).decode())
    except OSError as error:
        raise InputError(
            f"cannot read the configuration file {path} ({error.strerror}); check --config or "
            "PIPELINE_CONFIG"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not valid TOML ({error}); correct that line, for example to crf = 18 under "
            "[run]"
        ) from error

    for name, table in data.items():
        if not isinstance(table, dict):
            raise InputError(
                f"{name} is outside any table in {path}; add a heading such as [run] above it"
            )
    return data


def find_configurations(path: str | None) -> list[ConfigurationFile]:
    """Return the files to read; later files take precedence over earlier ones.

    If `path` is given, only that file is read. Otherwise, the user's own file and ./pipeline.toml
    are read, if they exist.
    """
    if path:
        return [ConfigurationFile(Path(path), is_chosen=True)]

    found = []
    own = user_file()
    if own.is_file():
        found.append(ConfigurationFile(own, is_chosen=True))
    local = Path(FILE_NAME)
    if local.is_file():
        is_own = Path.cwd() in (Path.home(), own.parent)
        found.append(ConfigurationFile(local, is_chosen=is_own))
    return found


def user_file() -> Path:
    """Return the path of the user's own file, which may not exist."""
    import platformdirs  # imported here, because the import is slow

    return platformdirs.user_config_path(DISTRIBUTION) / FILE_NAME
