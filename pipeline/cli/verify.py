"""The command verify: hold any output against the recording it was made from."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.schema.clip import Model


class Verification(Model):
    """What `pipeline verify --json` prints."""

    input: str
    output: str
    same: bool
    differences: list[str]


def verify(given: str, made: str) -> Verification:
    """Compare frames' times, size, tags and copied streams of `made` with those of `given`.

    Raises MediaError where `given` cannot be read.
    """
    from pipeline.media.join import sequence
    from pipeline.media.join.verify import differences
    from pipeline.media.pictures import numbered
    from pipeline.media.read.probe import probe, scan

    clip = probe(given)
    if clip.kind == "video" and Path(made).is_dir() and numbered.read_sequence(Path(made)):
        found = sequence.compared(clip, Path(made))
        return Verification(input=given, output=made, same=not found, differences=found)
    output = probe(made)
    scale = max(1, round(output.width / clip.width))
    found = differences(
        clip, scan(clip), Path(output.path), clip.width * scale, clip.height * scale
    )
    if clip.alpha and not output.alpha:
        found.append("it is opaque, expected the transparency of the input")
    return Verification(input=given, output=made, same=not found, differences=found)


@click.command()
@click.argument("given", metavar="IN")
@click.argument("made", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.pass_context
def command(ctx: click.Context, given: str, made: str, as_json: bool) -> None:
    """Print how OUT differs from IN: frames, times, size, tags, copied streams.

    The exit status is 0 when nothing differs (but the size, by a whole factor), and 1 when
    something does.
    """
    result = verify(given, made)
    if as_json:
        click.echo(result.model_dump_json())
    elif result.same:
        click.echo(f"{made} has every frame, time, tag and stream of {given}")
    else:
        click.echo("\n".join(result.differences))
    ctx.exit(0 if result.same else 1)
