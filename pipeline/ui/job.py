"""The jobs of the page: what is stored of each, and where its files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.schema.model import Model

State = Literal["draft", "queued", "running", "paused", "failed", "done"]
Role = Literal["input", "reference"]

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")


class ChildMark(Model):
    """The process of a run, so that a later server finds one that outlived its server."""

    pid: int
    started: float
    """When the process was created, in seconds since the epoch."""


class Job(Model):
    """One recording to enhance; the file `job.json` in its folder."""

    id: str
    created: float
    """Seconds since the epoch."""
    title: str = "New job"
    state: State = "draft"
    input: str = ""
    """Path or URL of the recording; "" until there is one."""
    reference: str = ""
    """Path or URL of the reference; "" until there is one."""
    options: dict[str, str] = Field(default_factory=dict)
    """Values of options by name, as text; flags are "true" or "false"."""
    is_planned: bool = False
    """Whether the stored plan belongs to these recordings and options."""
    key_frames: Annotated[int, Field(ge=0)] = 0
    """Number of key frames that were proposed."""
    output: str = ""
    """Path or URL of the finished output."""
    result: dict[str, Any] = Field(default_factory=dict)
    """The result of the run, as `pipeline run --json` prints it."""
    frames_done: int = 0
    frames: int = 0
    error: str = ""
    """The error of the last step in one line; "" if it succeeded."""
    notes: tuple[str, ...] = ()
    """Notes of the run."""
    child: ChildMark | None = None

    @property
    def is_open(self) -> bool:
        """Whether recordings and options may still change."""
        return self.state in ("draft", "failed")


class JobFolder:
    """The paths in the folder of a job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "job.json"
        self.plan = path / "plan.json"
        self.shown_plan = path / "plan"
        """Folder of the description of the plan, and its pictures."""
        self.key_frames = path / "key-frames"
        self.report = path / "report.html"

    def files(self, role: Role) -> Path:
        """Return the folder of the files that were uploaded for a role."""
        return self.path / role


def is_job_id(text: str) -> bool:
    """Return whether `text` has the form of a job's id."""
    return _ID.fullmatch(text) is not None
