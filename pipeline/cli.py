"""The command `pipeline`: a group whose subcommands are imported only when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback

import click

from pipeline.errors import Interrupted, PipelineError

COMMANDS = {
    "run": ("pipeline.commands:run", "Enhance a recording by its high-resolution reference."),
    "plan": ("pipeline.commands:plan", "Say what a run would do, without running it."),
    "probe": ("pipeline.commands:probe", "Describe a video or a folder of images."),
    "evaluate": ("pipeline.evaluate:command", "Compare an output with its ground truth."),
    "report": ("pipeline.report.command:command", "Show pictures and figures of a finished run."),
    "compare": ("pipeline.compare:command", "Show recordings beside each other in one clip."),
    "degrade": ("pipeline.degrade:command", "Make a low-resolution copy of a recording."),
    "convert": ("pipeline.lightfield.commands:convert", "Give a light field another layout."),
    "look": ("pipeline.lightfield.commands:look", "Make pictures that show a light field."),
    "train": ("pipeline.train_command:command", "Train a network on your own recordings."),
    "doctor": ("pipeline.doctor:command", "Look at what is installed and say what is missing."),
    "demo": ("pipeline.demo:command", "Run on small sample recordings."),
}
"""Name -> (where the click command is, one line of help); the one place to add a command."""


class LazyGroup(click.Group):
    """Load subcommands by name, and report every PipelineError in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and give it `--debug`."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        command.name = cmd_name
        if not any(parameter.name == "debug" for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; errors of ours become one line on stderr and an exit status."""
        try:
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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crossnetpp-pipeline")
def main() -> None:
    """Reference-based super-resolution: borrow the detail of an HR reference recording.

    The exit status is 0 when the output is complete and verified, 2 when the input is wrong, 1
    when the run failed, and 130 when it was interrupted (run the same command again to resume).
    """
