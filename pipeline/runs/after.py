"""Run the user's shell command after an output has been published (`--exec`)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from pipeline.paths import is_url
from pipeline.schema.settings import InputSettings

_NOT_STARTED = 127  # a shell's exit status for a command that it cannot find
_SHOWN = 400  # characters of the command's last line that are shown


class PublishedCommand:
    """A shell command that receives the paths or URLs of input and output in the environment.

    The variables are PIPELINE_INPUT and PIPELINE_OUTPUT. The paths never become part of the
    command, so nothing in them is executed. `note` receives a line about every call.
    """

    def __init__(self, command: str, note: Callable[[str], None]) -> None:
        self._command = command
        self._note = note

    def __call__(self, settings: InputSettings, output: str) -> int:
        """Run the command for an output, wait for it, and return its exit status."""
        source = settings.input
        names = {
            "PIPELINE_INPUT": source if is_url(source) else str(Path(source).absolute()),
            "PIPELINE_OUTPUT": output,
        }
        try:
            done = subprocess.run(
                self._command,
                shell=True,
                env=os.environ | names,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # this program's own stdout is for its result
                stderr=subprocess.STDOUT,
                check=False,
            )
            status, text = done.returncode, done.stdout.decode(errors="replace")
        except OSError as error:
            status, text = _NOT_STARTED, error.strerror or str(error)

        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        reason = f": {last.strip()[:_SHOWN]}" if last else ""
        self._note(f"--exec for {output} ended with status {status}{reason}")
        return status
