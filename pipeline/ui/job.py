"""The page's jobs: what is stored about each of them, and where its files are."""

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
    """Identifies the process of a run, so that a later server finds it if it is still running."""

    pid: int
    started: float
    """When the process was created, in seconds since the epoch."""


class Job(Model):
    """One recording to enhance, stored as `job.json` in the job's folder."""

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
    """Option values by name, as text; flags are "true" or "false"."""
    is_planned: bool = False
    """Whether the stored plan is for the current recordings and options."""
    key_frames: Annotated[int, Field(ge=0)] = 0
    """Number of proposed key frames."""
    output: str = ""
    """Path or URL of the finished output."""
    result: dict[str, Any] = Field(default_factory=dict)
    """The result of the run, as `pipeline run --json` prints it."""
    frames_done: int = 0
    frames: int = 0
    error: str = ""
    """Why the job's last step failed, in one line; "" if it succeeded."""
    notes: tuple[str, ...] = ()
    """The notes that the run has printed."""
    child: ChildMark | None = None

    @property
    def is_open(self) -> bool:
        """Whether the recordings and options may still be changed."""
        return self.state in ("draft", "failed")


class JobFolder:
    """The paths of everything in a job's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "job.json"
        self.plan = path / "plan.json"
        self.shown_plan = path / "plan"
        """Folder of the plan's description and pictures."""
        self.key_frames = path / "key-frames"
        self.report = path / "report.html"

    def files(self, role: Role) -> Path:
        """Return the folder of the files that were uploaded for a role."""
        return self.path / role


def is_job_id(text: str) -> bool:
    """Return whether `text` has the form of a job ID."""
    return _ID.fullmatch(text) is not None
