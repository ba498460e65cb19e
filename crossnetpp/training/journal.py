"""The progress of a run: a JSON log beside the weights, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

log = logging.getLogger(__name__)

# A function that receives the number of finished steps, and the latest figures as text
Show = Callable[[int, str], None]


class Journal:
    """Log of losses, metrics and pictures beside the weights.

    Each report appends a line to `OUT.log.jsonl`; a resumed run first removes the lines after the
    step from which it resumes. Files for TensorBoard go to `OUT.tensorboard/` if TensorBoard is
    installed.
    """

    def __init__(self, out: Path, first_step: int, steps: int, show: Show | None = None) -> None:
        """Begin or continue the log beside `out`.

        `show` replaces the progress bar and the log lines.
        """
        # Log
        self._path = out.with_suffix(".log.jsonl")
        earlier: list[str] = []
        if first_step and self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            earlier = [line for line in lines if json.loads(line)["step"] <= first_step]
        self._path.write_text("".join(f"{line}\n" for line in earlier), encoding="utf-8")
        self._since_report: list[dict[str, Tensor]] = []

        # TensorBoard
        self._board = _open_tensorboard(out.with_suffix(".tensorboard"), first_step)

        # Progress bar
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[summary]}"),
            console=self._console,
            disable=show is not None or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, completed=first_step, summary="")
        self._show = show
        self._step = first_step
        self._summary = ""

    def __enter__(self) -> Journal:
        self._bar.start()
        self._show_state()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def advance(self, step: int, losses: dict[str, Tensor]) -> None:
        """Move the progress bar, and collect the `losses` of `step` for the next report.

        The values are read only for the report, because reading them waits for the device.
        """
        self._bar.update(self._task, completed=step)
        self._step = step
        self._show_state()
        self._since_report.append(losses)

    def report_means(self, step: int, figures: dict[str, float]) -> None:
        """Report `figures` and the means of the losses collected since the last call.

        Means are reported because a single step's losses depend mostly on its samples.
        """
        names = self._since_report[0] if self._since_report else {}
        means = {
            name: fmean(float(losses[name]) for losses in self._since_report) for name in names
        }
        self._since_report.clear()
        self.report(step, figures | means)

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Write `figures` to the log, the progress bar and TensorBoard."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")

        summary = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._bar.update(self._task, summary=summary)
        self._summary = summary
        self._show_state()
        if self._show is None and not self._console.is_terminal:
            log.info("step %d: %s", step, summary)

        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def _show_state(self) -> None:
        if self._show is not None:
            self._show(self._step, self._summary)

    def add_picture(self, step: int, name: str, image: Tensor) -> None:
        """Add `image` (3 x H x W in 0..1) to TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, image.detach().float().clamp(0, 1).cpu(), step)


def _open_tensorboard(folder: Path, first_step: int) -> Any:
    """Return a SummaryWriter, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard (extra `train`) is not installed, so no files are written for it")
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None)


def concatenate_pictures(images: list[Tensor]) -> Tensor:
    """Return `images` (each 3 x H x W) side by side in one picture."""
    return torch.cat(images, dim=-1)
