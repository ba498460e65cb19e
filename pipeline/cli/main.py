"""The command `pipeline`: a group whose subcommands are imported only when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from pathlib import Path

import click

from pipeline.cli.config_file import PREFIX, SHARED, Configuration, find_configuration
from pipeline.cli.help import group_commands, suggest, with_sections
from pipeline.errors import Interrupted, PipelineError
from pipeline.paths import check_text

COMMANDS = {
    "run": ("pipeline.cli.run:run", "Enhance a recording by its high-resolution reference."),
    "submit": ("pipeline.cli.submit:command", "Run on a Ray cluster what `run` would run here."),
    "status": ("pipeline.cli.status:command", "Say how far a running or dead run is."),
    "plan": ("pipeline.cli.plan:plan", "Say what a run would do, without running it."),
    "probe": ("pipeline.cli.probe:probe", "Describe a video or a folder of images."),
    "verify": ("pipeline.cli.verify:command", "Print how an output differs from its input."),
    "evaluate": ("pipeline.cli.evaluate:command", "Compare an output with its ground truth."),
    "report": ("pipeline.cli.report:command", "Show pictures and figures of a finished run."),
    "compare": ("pipeline.cli.compare:command", "Show recordings beside each other in one clip."),
    "degrade": ("pipeline.cli.degrade:command", "Make a low-resolution copy of a recording."),
    "convert": ("pipeline.cli.light_field:convert", "Give a light field another layout."),
    "look": ("pipeline.cli.light_field:look", "Make pictures that show a light field."),
    "train": ("pipeline.cli.train:command", "Train a network on your own recordings."),
    "engines": ("pipeline.cli.engines:command", "Make, list, test and time engines."),
    "doctor": ("pipeline.cli.doctor:command", "Look at what is installed and say what is missing."),
    "completion": (
        "pipeline.cli.completion:completion",
        "Print what makes a shell complete commands.",
    ),
    "demo": ("pipeline.cli.demo:command", "Run on small sample recordings."),
}
"""Name -> (where the click command is, one line of help); the one place to add a command."""


class LazyGroup(click.Group):
    """Load subcommands by name, and report every PipelineError in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and give it sections, examples, `--verbose` and `--debug`."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        command.name = cmd_name
        for option in (_verbose_option(), _debug_option()):
            if not any(parameter.name == option.name for parameter in command.params):
                command.params.append(option)
        if cmd_name in SHARED:
            # a plan tells what a run would do, with the same variables
            prefix = f"{PREFIX}_{SHARED[cmd_name].upper()}"
            command.context_settings = {"auto_envvar_prefix": prefix}
        return with_sections(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command and its defaults; a mistyped name gets a suggestion."""
        check_text([*args, str(Path.cwd())])
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'{suggest(args[0], COMMANDS)}")
        name, command, rest = super().resolve_command(ctx, args)
        configuration = ctx.meta.get("pipeline.cli.config_file")
        if name and command and configuration is not None and not ctx.resilient_parsing:
            defaults = configuration.defaults(command, lambda other: self._must(ctx, other))
            ctx.default_map = {name: defaults}
        return name, command, rest

    def _must(self, ctx: click.Context, name: str) -> click.Command:
        command = self.get_command(ctx, name)
        assert command is not None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the tables of commands without importing any."""
        for heading, names in group_commands(COMMANDS).items():
            with formatter.section(heading):
                formatter.write_dl([(name, COMMANDS[name][1]) for name in names])

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; errors of ours become one line on stderr and an exit status."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            path = ctx.meta.get("pipeline.configuration.path")
            if path is not None:
                ctx.meta["pipeline.cli.config_file"] = Configuration(path, list(COMMANDS))
            return super().invoke(ctx)
        except KeyboardInterrupt:
            error: PipelineError = Interrupted("interrupted; run the same command again")
        except PipelineError as raised:
            error = raised
        if ctx.meta.get("pipeline.debug"):
            click.echo("".join(traceback.format_exception(error)), err=True)
        click.secho(f"error: {' '.join(str(error).split())}", fg="red", err=True)
        _leave_native_code(error)
        ctx.exit(error.exit_status)


def _debug_option() -> click.Option:
    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            # contexts share their meta with the group's
            ctx.meta["pipeline.debug"] = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the trace of an error.",
    )


def _verbose_option() -> click.Option:
    def speak(_: click.Context, __: click.Parameter, value: bool) -> None:
        if value:
            import logging

            form = "%(asctime)s %(name)s: %(message)s"
            logging.basicConfig(level=logging.INFO, format=form, stream=sys.stderr)

    return click.Option(
        ["--verbose", "-v"],
        is_flag=True,
        expose_value=False,
        callback=speak,
        help="Log lines of all parts on stderr.",
    )


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pipeline.cli.completion import build_facts

        click.echo(build_facts())
        ctx.exit()


def _configure(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    path = find_configuration(value)
    if path is not None and not ctx.resilient_parsing:
        ctx.meta["pipeline.configuration.path"] = path


def _leave_native_code(error: PipelineError) -> None:
    """End the process at once where the interpreter's own way out may crash.

    That is when a stage is still inside native code, which cannot be stopped and would return into
    an ending interpreter, and when `ray.init` may have been torn apart (a segmentation fault was
    seen). Everything of ours has been cleaned up before.
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
        "auto_envvar_prefix": PREFIX,
        "max_content_width": 100,
    },
)
@click.option(
    "--config",
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_configure,
    help="Defaults of options; else PIPELINE_CONFIG, else ./pipeline.toml.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version, and what it is built on.",
)
def main() -> None:
    """Reference-based super-resolution: borrow the detail of an HR reference recording.

    The exit status is 0 when the output is complete and verified, 2 when the input is wrong, 1
    when the run failed, and 130 when it was interrupted (run the same command again to resume).

    An option wins over a variable (PIPELINE_RUN_CRF=18), a variable over pipeline.toml (crf = 18
    under [run]), and that over the default.
    """
    if "PIPELINE_LOG" in os.environ:
        from pipeline.cli.logs import configure

        configure()
