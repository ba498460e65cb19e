"""`pipeline verify`: compare an output with its input."""

from __future__ import annotations

import click

from pipeline.cli.options import FILE, JSON_OPTION, QUIET_OPTION
from pipeline.cli.words import print_json, print_text


@click.command()
@click.argument("source", metavar="IN", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@QUIET_OPTION
@JSON_OPTION
@click.pass_context
def verify(context: click.Context, source: str, output: str, quiet: bool, as_json: bool) -> None:
    """List how OUT differs from IN: frames, times, size, tags, copied streams.

    OUT may be larger by a whole factor. The exit status is 0 if nothing else differs, else 1.
    """
    from pipeline.progress import make_reporter
    from pipeline.tools.verify import verify_output

    result = verify_output(source, output, make_reporter(quiet=quiet))
    if as_json:
        print_json(result.model_dump_json())
    elif result.same:
        print_text(f"{output} has every frame, time, tag and stream of {source}")
    else:
        print_text("\n".join(result.differences))
    context.exit(0 if result.same else 1)
