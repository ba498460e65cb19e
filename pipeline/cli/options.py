"""Make click options from the table of options in `pipeline.schema.settings`.

The settings, and with them pydantic, are imported only for commands that have such options.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.errors import PipelineError
from pipeline.paths import describe_special

if TYPE_CHECKING:
    from pipeline.schema.options import OptionField
    from pipeline.schema.settings import GridSettings, RunSettings

Command = TypeVar("Command", bound=Callable[..., Any])

JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)
QUIET_OPTION = click.option("-q", "--quiet", is_flag=True, help="Show no progress on stderr.")


class RecordingType(click.Path):
    """The path of a recording to read; a pipe is copied to a file while the command runs."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path, or the path of the copy."""
        if ctx is None or ctx.resilient_parsing or describe_special(str(value)) is None:
            return super().convert(value, param, ctx)

        from pipeline.remote.pipes import read_pipes

        try:
            return ctx.with_resource(read_pipes([str(value)]))[str(value)].as_posix()
        except PipelineError as error:
            raise click.UsageError(str(error), ctx) from error


RECORDING = RecordingType()


def click_type(field: OptionField) -> click.Choice[str] | click.IntRange | type[float] | None:
    """Return the click type that checks a value, or None if the settings parse the text."""
    if field.choices:
        return click.Choice(field.choices)
    if field.kind is int:
        least = next((item.ge for item in field.constraints if hasattr(item, "ge")), None)
        most = next((item.le for item in field.constraints if hasattr(item, "le")), None)
        return click.IntRange(least, most)
    return float if field.kind is float else None


def click_option(field: OptionField) -> Callable[[Command], Command]:
    """Return the decorator that adds the option for `field` to a command."""
    if field.kind is bool:
        is_pair = "/" in field.flags[0]
        # None, not False, so that a manifest or a file may still set a pair of flags
        default = None if is_pair else False
        return click.option(
            *field.flags, field.name, is_flag=True, default=default, help=field.option.help
        )
    return click.option(
        *field.flags,
        field.name,
        type=click_type(field),
        metavar=field.option.metavar,
        help=field.option.help,
    )


def add_options(command: Command, fields: Iterable[OptionField]) -> Command:
    """Add the options to a command, in order."""
    for field in reversed(list(fields)):
        command = click_option(field)(command)
    return command


def grid_options(command: Command) -> Command:
    """Add the options of `GridSettings` to a command."""
    from pipeline.schema.options import list_options
    from pipeline.schema.settings import GridSettings

    return add_options(command, list_options(GridSettings))


def settings_options(command: Command) -> Command:
    """Add every option that determines a plan to a command."""
    from pipeline.schema.options import list_options
    from pipeline.schema.settings import OPTION_GROUPS

    fields = [field for field in list_options(*OPTION_GROUPS) if field.option.is_planned]
    return add_options(command, fields)


def run_options(command: Command) -> Command:
    """Add the arguments and options of `pipeline run` to a command."""
    from pipeline.schema.options import list_options
    from pipeline.schema.settings import OPTION_GROUPS

    # options of `run` that do not change its plan
    own = (
        click.argument("inputs", metavar="INPUT...", nargs=-1),
        click.option("--manifest", metavar="FILE", help="CSV or JSONL file that lists the inputs."),
        *(
            click_option(field)
            for field in list_options(*OPTION_GROUPS)
            if not field.option.is_planned
        ),
        QUIET_OPTION,
        JSON_OPTION,
    )

    command = settings_options(command)
    for option in reversed(own):
        command = option(command)
    return command


def make_settings(values: dict[str, Any]) -> RunSettings:
    """Return the settings of a run from option values, of which None leaves a default."""
    from pipeline.schema.parsing import check_settings
    from pipeline.schema.settings import RunSettings

    return check_settings(RunSettings, values)


def make_grid_settings(values: dict[str, Any]) -> GridSettings:
    """Return the settings of a grid from option values, of which None leaves a default."""
    from pipeline.schema.parsing import check_settings
    from pipeline.schema.settings import GridSettings

    return check_settings(GridSettings, values)
