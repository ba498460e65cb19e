"""What a run tells: a JSON line per report (kept with the weights), TensorBoard, a progress bar."""

from __future__ import annotations

import json
import logging
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


class Journal:
    """Write figures and pictures of a run beside its weights.

    `OUT.log.jsonl` grows by a line per report; a resumed run drops the lines after the step it
    resumes from. TensorBoard files go to `OUT.tensorboard/` if that package is installed.
    """

    def __init__(self, out: Path, first_step: int, steps: int) -> None:
        self._path = out.with_suffix(".log.jsonl")
        kept: list[str] = []
        if first_step and self._path.is_file():
            lines = self._path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= first_step]
        self._path.write_text("".join(f"{line}\n" for line in kept))
        self._since_report: list[dict[str, float]] = []
        self._board = _tensorboard(out.with_suffix(".tensorboard"), first_step)
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, completed=first_step, said="")

    def __enter__(self) -> Journal:
        self._bar.start()
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

    def advance(self, step: int, losses: dict[str, float]) -> None:
        """Move the bar and keep the `losses` of `step` for the next report."""
        self._bar.update(self._task, completed=step)
        self._since_report.append(losses)

    def report_means(self, step: int, figures: dict[str, float]) -> None:
        """Report `figures` and the means of the losses since the last such report.

        A single step tells of its samples more than of the run.
        """
        names = self._since_report[0] if self._since_report else {}
        means = {name: fmean(losses[name] for losses in self._since_report) for name in names}
        self._since_report.clear()
        self.report(step, figures | means)

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Write `figures` as those of `step`."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._bar.update(self._task, said=said)
        if not self._console.is_terminal:
            log.info("step %d: %s", step, said)
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Show `image` (3 x H x W in 0..1) in TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, image.detach().float().clamp(0, 1).cpu(), step)


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed (extra `train`): no pictures are written")
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None)


def side_by_side(images: list[Tensor]) -> Tensor:
    """Return 3 x H x W images next to each other."""
    return torch.cat(images, dim=-1)
