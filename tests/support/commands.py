"""The command line, called inside the test process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pipeline.cli.main import main


def invoke(*arguments: object, env: dict[str, str] | None = None) -> Result:
    """Call `pipeline ARGUMENTS` and return its exit status and output."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)
