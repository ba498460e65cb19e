"""The commands for web pages: `pipeline report` writes a page, and `pipeline ui` serves one."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import FILE, QUIET_OPTION
from pipeline.cli.words import print_address, print_text

PORT = 8765  # default port of `pipeline ui`


@click.command()
@click.argument("run", metavar="OUT", type=FILE)
@click.option(
    "-o",
    "--output",
    "page",
    metavar="FILE.html",
    type=FILE,
    help="Report to write; default: OUT with the suffix .html.",
)
@click.option(
    "--ground-truth",
    metavar="HR",
    type=FILE,
    help="Original HR recording, against which the PSNR and SSIM of OUT are measured.",
)
@click.option(
    "--plan", metavar="FILE", type=FILE, help="Plan of the run; default: the .plan.json beside OUT."
)
@click.option("--force", is_flag=True, help="Replace an existing report.")
@QUIET_OPTION
def report(
    run: str, page: str | None, ground_truth: str | None, plan: str | None, force: bool, quiet: bool
) -> None:
    """Write an HTML page with pictures and measurements of a finished run.

    OUT is the output of a run, or its .plan.json. The page is a single file that loads no others.
    """
    from pipeline.report.checks import check_page_path, find_output

    output = find_output(Path(run))
    target = Path(page) if page else output.with_suffix(".html")
    check_page_path(target, force=force, read=[output, run, plan, ground_truth])

    from pipeline.progress import make_reporter
    from pipeline.report.page import write_report  # imports torch

    write_report(
        output,
        target,
        plan_file=Path(plan) if plan else None,
        ground_truth=ground_truth,
        progress=make_reporter(quiet=quiet),
    )
    print_text(f"{target}")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to listen on; 0 picks any free port.",
)
@click.option(
    "--open/--no-open", "opens", default=True, help="Open the page in a browser (default)."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder for the jobs and their files; default: one in your user data folder.",
)
@click.option(
    "--token",
    "needs_token",
    is_flag=True,
    help="Require a token on this computer, too; for computers with several users.",
)
def ui(host: str, port: int, opens: bool, folder: Path | None, needs_token: bool) -> None:
    """Serve a web page for enhancing recordings without the command line.

    By default, only this computer can open the page. With another --host, other computers can open
    it, too, but only with the token in its address. Ctrl-C stops the server; a run in progress
    keeps its finished segments, and can be resumed on the page later.
    """
    from pipeline.interrupt import Interrupts
    from pipeline.runs.preview import find_page_folder
    from pipeline.ui.guard import is_loopback, make_token
    from pipeline.ui.serve import serve

    token = make_token() if needs_token or not is_loopback(host) else ""

    def announce(address: str) -> None:
        print_address(f"the page is at {address}")
        print_text("stop it with Ctrl-C")
        if opens:
            import webbrowser

            webbrowser.open(address)

    with Interrupts():
        try:
            serve(folder or find_page_folder(), host, port, token=token, on_ready=announce)
        except KeyboardInterrupt:
            print_text("the page is closed; `pipeline ui` opens it again", err=True)
