"""`pipeline demo`: enhance the bundled sample clip."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for clips and pictures.",
)
@click.option("--force", is_flag=True, help="Replace an existing folder.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress on stderr.")
def demo(folder: Path, force: bool, quiet: bool) -> None:
    """Shrink a bundled clip, keep every 15th frame as a reference, restore it, and compare."""
    from pipeline.report.page import write_report  # imports torch
    from pipeline.tools.demo import SAMPLE, make_demo, print_table

    demonstration = make_demo(folder, force=force, quiet=quiet)
    report = folder / "report.html"
    write_report(demonstration.enhanced, report, ground_truth=str(SAMPLE))

    print_table(demonstration.contenders, demonstration.key_frames)
    click.echo(f"see {report}, {demonstration.picture} and {demonstration.clip}")
