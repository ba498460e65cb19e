"""Make click options from the fields of the settings in `pipeline.schema.settings`.

The settings, and thus pydantic, are imported only for commands that have such options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import click
from click.shell_completion import CompletionItem

from deploy.names import ENGINES
from pipeline.cli.words import print_text
from pipeline.errors import PipelineError
from pipeline.paths import describe_special

if TYPE_CHECKING:
    from pipeline.schema.options import OptionField
    from pipeline.schema.settings import GridSettings, RunSettings

Command = TypeVar("Command", bound=Callable[..., Any])

JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)
QUIET_OPTION = click.option(
    "-q", "--quiet", is_flag=True, help="Show no progress or notes on stderr."
)

_PIPED = "pipeline.piped"  # key of `Context.meta`: the paths to which pipes were copied

# Names of weights; commands also accept the path of a weights file.
MODELS = ("fast", "fast-recorded", "fast-quick", "fast-recorded-quick", "paper")

# Option -> words that shell completion suggests; the option may accept other values, too.
_SUGGESTED = {
    "codec": ("x264", "x265", "av1", "prores", "ffv1", "libvpx-vp9"),
    "engine": ENGINES,
    "model": MODELS,
    "pix_fmt": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    "preset": ("ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"),
    "ref_offset": ("auto",),
    "ref_view": ("center",),
    "scale": ("auto", "2", "3", "4", "8"),
    "size": ("720p", "1080p", "1440p", "2160p", "4k", "reference"),
}


class PathOrWord(click.Path):
    """A file, or one of a few words; shell completion suggests both."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        super().__init__()
        self.name = "text"
        self._words = tuple(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged, because the command itself checks the file."""
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the words that begin with `incomplete`, plus files if none does or it is empty."""
        words = [word for word in self._words if word.startswith(incomplete)]
        files = [] if words and incomplete else super().shell_complete(ctx, param, incomplete)
        return [*map(CompletionItem, words), *files]


class RecordingType(PathOrWord):
    """The path of a recording to read; a pipe is replaced by a temporary copy of its contents."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path, or the path of a pipe's temporary copy."""
        path = super().convert(value, param, ctx)
        if ctx is None or ctx.resilient_parsing or describe_special(path) is None:
            return path

        from pipeline.remote.pipes import read_pipes

        try:
            copies = ctx.with_resource(read_pipes([path], on_wait=_print_note))
        except PipelineError as error:
            raise click.UsageError(str(error), ctx) from error
        copy = copies[path].as_posix()
        ctx.meta.setdefault(_PIPED, set()).add(copy)
        return copy


def _print_note(text: str) -> None:
    print_text(f"note: {text}", err=True)


def name_recording(path: str) -> str:
    """Return the name of a recording for suggested commands: its path, or INPUT if piped."""
    return "INPUT" if path in click.get_current_context().meta.get(_PIPED, ()) else path


FILE = PathOrWord()
RECORDING = RecordingType()


MANIFEST_OPTION = click.option(
    "--manifest", metavar="FILE", type=FILE, help="CSV or JSONL file that lists the inputs."
)


def list_given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are set; in a batch, they apply to all inputs."""
    # `is not False`, because the value 0 of --crf 0 equals False but must be kept
    return {
        name: value for name, value in values.items() if value is not None and value is not False
    }


def complete_words(
    words: Iterable[str],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return a function that suggests the words that begin with what the user has typed."""
    known = tuple(words)

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in known if word.startswith(incomplete)]

    return complete


def is_path(field: OptionField) -> bool:
    """Return whether an option accepts a path."""
    return any(get_origin(kind) is PathLike for kind in field.kinds)


def click_type(field: OptionField) -> click.ParamType[Any] | type[float] | None:
    """Return the click type that checks a value, or None if the settings parse the text."""
    if is_path(field):
        return PathOrWord(_SUGGESTED.get(field.name, ()))
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
        # None, not False, so that a manifest or a configuration file can still set a flag pair
        default = None if is_pair else False
        return click.option(
            *field.flags, field.name, is_flag=True, default=default, help=field.option.help
        )
    words = () if is_path(field) else _SUGGESTED.get(field.name, ())
    return click.option(
        *field.flags,
        field.name,
        type=click_type(field),
        metavar=field.option.metavar,
        help=field.option.help,
        shell_complete=complete_words(words) if words and not field.choices else None,
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
    """Add to a command every option on which a plan may depend."""
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
        click.argument("inputs", metavar="INPUT...", nargs=-1, type=FILE),
        MANIFEST_OPTION,
        click.option(
            "--skip-existing",
            is_flag=True,
            help="Skip every input whose output exists, even if another run made it.",
        ),
        *(
            click_option(field)
            for field in list_options(*OPTION_GROUPS)
            if not field.option.is_planned
        ),
        QUIET_OPTION,
        JSON_OPTION,
        click.option(
            "--json-progress", is_flag=True, help="Write progress as JSON, one object per line."
        ),
    )

    command = settings_options(command)
    for option in reversed(own):
        command = option(command)
    return command


def make_settings(values: dict[str, Any]) -> RunSettings:
    """Return the settings of a run from option values; None leaves a field at its default.

    Raises InputError if a value is invalid.
    """
    from pipeline.schema.parsing import check_settings
    from pipeline.schema.settings import RunSettings

    return check_settings(RunSettings, values)


def make_grid_settings(values: dict[str, Any]) -> GridSettings:
    """Return the settings of a grid from option values; None leaves a field at its default.

    Raises InputError if a value is invalid.
    """
    from pipeline.schema.parsing import check_settings
    from pipeline.schema.settings import GridSettings

    return check_settings(GridSettings, values)
