"""The command `pipeline`: a group that imports each subcommand only when it is called."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from crossnetpp.printable import PrintableFormatter, make_printable
from pipeline.cli.config_file import (
    SHARED_TABLES,
    VARIABLE_PREFIX,
    Configuration,
    Defaults,
    find_configurations,
)
from pipeline.cli.help import group_commands, suggest, with_sections
from pipeline.cli.words import print_text
from pipeline.errors import Interrupted, PipelineError, describe_os_error
from pipeline.paths import check_encodable, redact_text

# Command -> (module:name of its click command, its line in the help).
COMMANDS = {
    "run": ("pipeline.cli.run:run", "Enhance a recording with its high-resolution reference."),
    "submit": ("pipeline.cli.submit:submit", "Start `run` on a Ray cluster, and follow it."),
    "status": ("pipeline.cli.status:status", "Show the progress of a run."),
    "plan": ("pipeline.cli.plan:plan", "Show what a run would do, without running it."),
    "probe": ("pipeline.cli.probe:probe", "Describe a video, pictures or a light field."),
    "verify": ("pipeline.cli.evaluate:verify", "List how an output differs from its input."),
    "evaluate": ("pipeline.cli.evaluate:evaluate", "Measure an output against its ground truth."),
    "report": ("pipeline.cli.pages:report", "Write a page about a finished run."),
    "compare": ("pipeline.cli.compare:compare", "Show recordings side by side in one clip."),
    "keyframes": ("pipeline.cli.key_frames:keyframes", "Pick the frames worth enhancing by hand."),
    "degrade": ("pipeline.cli.degrade:degrade", "Make a low-resolution copy of a recording."),
    "convert": ("pipeline.cli.light_field:convert", "Convert a light field to another layout."),
    "look": ("pipeline.cli.light_field:look", "Show a light field as pictures."),
    "adapt": ("pipeline.cli.train:adapt", "Adapt the weights to a camera."),
    "train": ("pipeline.cli.train:train", "Train a network on your own recordings."),
    "engines": ("pipeline.cli.engines:engines", "Build, list, test and time engines."),
    "doctor": ("pipeline.cli.doctor:doctor", "Check what a run needs on this machine."),
    "completion": ("pipeline.cli.completion:completion", "Print a completion script for a shell."),
    "ui": ("pipeline.cli.pages:ui", "Enhance recordings on a web page."),
    "demo": ("pipeline.cli.demo:demo", "Enhance a bundled sample clip."),
}

# Keys of `Context.meta`, which the group's context shares with the subcommand's.
CONFIG_FILES = "pipeline.config.files"
CONFIG = "pipeline.config"
DEBUG = "pipeline.debug"


class LazyGroup(click.Group):
    """A group that loads subcommands by name and reports each PipelineError in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, with `--verbose`, `--debug`, help sections and examples.

        The result is None if there is no such command.
        """
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        command.name = cmd_name

        for option in (_verbose_option(), _debug_option()):
            if not any(parameter.name == option.name for parameter in command.params):
                command.params.append(option)

        if cmd_name in SHARED_TABLES:
            # `plan` reads the environment variables of `run`, so that it shows what a run would do
            prefix = f"{VARIABLE_PREFIX}_{SHARED_TABLES[cmd_name].upper()}"
            command.context_settings = {"auto_envvar_prefix": prefix}
        return with_sections(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a command and load its defaults; suggest similar names if there is none."""
        check_encodable([*args, str(Path.cwd())])
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'{suggest(args[0], COMMANDS)}")

        name, command, rest = super().resolve_command(ctx, args)
        if name and command and not ctx.resilient_parsing:
            ctx.default_map = {name: self._find_defaults(ctx, command)}
        return name, command, rest

    def _find_defaults(self, ctx: click.Context, command: click.Command) -> Defaults:
        """Return the defaults from all configuration files.

        Print a note that lists the options set by a file in the current folder, unless the user
        chose that file.
        """
        defaults: Defaults = {}
        for configuration in ctx.meta.get(CONFIG, ()):
            found = configuration.find_defaults(
                command, lambda other: self._load_command(ctx, other)
            )
            defaults |= found
            if note := configuration.describe_use(found):
                print_text(f"note: {note}", err=True)
        return defaults

    def _load_command(self, ctx: click.Context, name: str) -> click.Command:
        command = self.get_command(ctx, name)
        assert command is not None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the tables of commands without importing any of them."""
        for heading, names in group_commands(COMMANDS).items():
            with formatter.section(heading):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; see `click.Command.main`."""
        open_closed_streams()
        atexit.register(discard_unwritten_lines)
        # Otherwise, Python searches everything for garbage at exit, which takes long with PyTorch
        atexit.register(gc.freeze)
        escape_unknown_characters()
        sys.excepthook = print_traceback
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            # only printing help can raise this, because `invoke` reports the errors of commands
            if error.errno is None:
                raise
            described = describe_os_error(error)
            print_text(str(described), err=True, label="error: ", colour="red")
            sys.exit(described.exit_status)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the group's arguments, and make the messages of usage errors printable."""
        with printable_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; report a user-facing error in one line, and set the exit status."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False

        try:
            files = ctx.meta.get(CONFIG_FILES, ())
            ctx.meta[CONFIG] = [Configuration(file, list(COMMANDS)) for file in files]
            with printable_usage_errors():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the program that reads stdout has exited; click handles this
        except KeyboardInterrupt:
            error: PipelineError = Interrupted("interrupted; run the same command again")
        except PipelineError as raised:
            error = raised
        except OSError as raised:
            if raised.errno is None:
                raise
            error = describe_os_error(raised)
            error.__cause__ = raised
        except EOFError as raised:
            # click would only print "Aborted!"
            if "marshal data" not in str(raised):
                raise RuntimeError(f"data ended unexpectedly: {raised}") from raised
            error = PipelineError(
                "a compiled Python file is incomplete, perhaps because the disk was full; delete "
                f"the __pycache__ folders below {Path(__file__).parents[2]}, then run the same "
                "command again"
            )
            error.__cause__ = raised

        if ctx.meta.get(DEBUG):
            print_text("".join(traceback.format_exception(error)), err=True)
        line = f"error: {' '.join(str(error).split())}"
        print_text("", err=True, label=line, colour="red")
        _exit_during_native_code(error)
        ctx.exit(error.exit_status)


@contextmanager
def printable_usage_errors() -> Iterator[None]:
    """Remove control characters and URLs' secrets from UsageErrors, which quote arguments."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message()
        shown = make_printable(redact_text(message))
        if shown == message:
            raise
        raise click.UsageError(shown, error.ctx) from error


def print_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the traceback of a programming error, with control characters removed."""
    lines = traceback.format_exception(kind, error, trace)
    print_text("".join(lines), err=True, end="")


def open_closed_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise, the next file to be opened would get the file descriptor of a standard stream, and
    libraries would print into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
            os.set_inheritable(null, True)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def discard_unwritten_lines() -> None:
    """Discard text that cannot be written to stderr; otherwise, Python exits with status 120."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def escape_unknown_characters() -> None:
    """Make standard output escape characters that its encoding lacks, as standard error does.

    On Windows, files and pipes use the region's code page, which lacks the characters of most
    scripts.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _debug_option() -> click.Option:
    def set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[DEBUG] = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=set_debug,
        help="Show the traceback of an error.",
    )


def _verbose_option() -> click.Option:
    def start_logging(_: click.Context, __: click.Parameter, value: bool) -> None:
        if value:
            import logging

            form = "%(asctime)s %(name)s: %(message)s"
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(PrintableFormatter(form))
            logging.basicConfig(level=logging.INFO, handlers=[handler])

    return click.Option(
        ["--verbose", "-v"],
        is_flag=True,
        expose_value=False,
        callback=start_logging,
        help="Print log lines on stderr.",
    )


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pipeline.tools.versions import describe_versions

        print_text(describe_versions())
        ctx.exit()


def _find_config(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if not ctx.resilient_parsing:
        ctx.meta[CONFIG_FILES] = find_configurations(value)


def _exit_during_native_code(error: PipelineError) -> None:
    """Exit the process at once if a normal shutdown of the interpreter could crash.

    A stage may still be running native code, which cannot be stopped and would return to an
    interpreter that is shutting down. After an interrupt, Ray may cause a segmentation fault. Call
    this only after all cleanup.
    """
    running = any(thread.name.startswith("pipeline-") for thread in threading.enumerate())
    if running or (isinstance(error, Interrupted) and "ray" in sys.modules):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.exit_status)


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": VARIABLE_PREFIX,
        "max_content_width": 100,
    },
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    expose_value=False,
    is_eager=True,
    callback=_find_config,
    help="File of option defaults; default: PIPELINE_CONFIG, or ./pipeline.toml and your own file.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the versions of the program and its libraries.",
)
def main() -> None:
    """Reference-based super-resolution: borrow the detail of an HR reference recording.

    The exit status is 0 if the output is complete and verified, 2 if the input is wrong, 1 if the
    run failed, and 130 if it was interrupted (run the same command again to resume).

    An option takes precedence over an environment variable (PIPELINE_RUN_CRF=18), a variable over
    pipeline.toml (crf = 18 under [run]), and the file over the option's default.
    """
    if "PIPELINE_LOG" in os.environ:
        from pipeline.cli.logs import configure_logging

        configure_logging()
