"""`pipeline ui`: a web page for runs."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.words import print_text

PORT = 8765


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to listen at; 0 takes any free one.",
)
@click.option(
    "--open/--no-open", "opens", default=True, help="Open the page in a browser (default)."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the jobs and their files; default: one in your own data folder.",
)
@click.option(
    "--token",
    "needs_token",
    is_flag=True,
    help="Require the token in the address on this computer, too, if others use it.",
)
def ui(host: str, port: int, opens: bool, folder: Path | None, needs_token: bool) -> None:
    """Serve a web page on which recordings are enhanced without a command line.

    It is open to this computer only. With another --host, its address contains a token, without
    which it answers nobody. Stop it with Ctrl-C: a run at work keeps what is done, and the page
    resumes it the next time.
    """
    from pipeline.interrupt import Interrupts
    from pipeline.runs.preview import find_page_folder
    from pipeline.ui.guard import is_loopback, make_token
    from pipeline.ui.serve import serve

    token = make_token() if needs_token or not is_loopback(host) else ""

    def announce(address: str) -> None:
        print_text(f"the page is at {address}\nstop it with Ctrl-C")
        if opens:
            import webbrowser

            webbrowser.open(address)

    with Interrupts():
        try:
            serve(folder or find_page_folder(), host, port, token=token, on_ready=announce)
        except KeyboardInterrupt:
            print_text("the page is closed; `pipeline ui` opens it again", err=True)
