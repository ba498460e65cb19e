"""`pipeline status`: print the progress of a run."""

from __future__ import annotations

import click

from pipeline.cli.options import FILE, JSON_OPTION
from pipeline.cli.words import print_json, print_text


@click.command()
@click.argument("run", metavar="RUN", type=FILE)
@JSON_OPTION
def status(run: str, as_json: bool) -> None:
    """Show the progress of a run; RUN is the path or URL of its output."""
    from pipeline.tools.status import describe_status, read_status

    found = read_status(run)
    if as_json:
        print_json(found.model_dump_json())
    else:
        print_text(describe_status(found))
