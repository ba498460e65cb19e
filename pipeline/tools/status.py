"""Read the progress of a run, whether or not it is still running, from its run folder alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from pipeline.errors import InputError
from pipeline.ledger import mirror
from pipeline.ledger.names import RECORDS
from pipeline.ledger.run_folder import read_stored_plan, run_folder_of
from pipeline.paths import is_url, redact_url, url_name
from pipeline.progress import format_seconds
from pipeline.remote import transfer
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan, SegmentRecord

_LISTED = 8  # largest number of missing segments that the text lists


class RunStatus(Model):
    """The state of a run; the fields of `pipeline status --json`."""

    output: str
    state: Literal["running", "stopped", "done", "unknown"]
    """"unknown" if the run folder is at a URL, where no lock shows whether the run continues."""
    frames: int
    frames_done: int
    segments: int
    segments_done: int
    missing: tuple[int, ...]
    """Indices of the segments that are not committed."""
    attempts: int
    """Number of segment files that are being written, or that a killed run left unfinished."""
    last_commit: float | None
    """Seconds since the last commit; None if there is none, or if its time is not known."""
    seconds_left: float | None
    """Estimated from the commit times; None if the run has stopped or has too few commits."""


def read_status(run: str) -> RunStatus:
    """Return the state of a run; `run` is the path or URL of its output or of its run folder.

    Raises InputError if there is no such run.
    """
    if is_url(run):
        return _read_status_at_url(run)

    output = Path(run).absolute()
    if output.name.startswith(".") and output.name.endswith(".run"):
        output = output.with_name(output.name[1:].removesuffix(".run"))
    folder = run_folder_of(output)
    plan = read_stored_plan(output)
    if plan is None:
        if output.exists():
            return _finished(str(output))
        raise InputError(
            f"there is neither an output at {output} nor its run folder {folder.name}; "
            "check the path of the run's output"
        )

    times = []
    records = []
    for file in sorted((folder / "segments").glob(RECORDS)):
        try:
            records.append(SegmentRecord.model_validate_json(file.read_text(encoding="utf-8")))
            times.append(file.stat().st_mtime)
        except (FileNotFoundError, ValueError):
            continue  # the run has just finished and deleted the record, or the record is broken

    attempts = len(list((folder / "segments").glob("attempt-*.nut")))
    state: Literal["running", "stopped"] = "running" if _is_locked(folder / "lock") else "stopped"
    return _summarise(plan, records, times, attempts, state)


def _read_status_at_url(run: str) -> RunStatus:
    folder = run if run.rstrip("/").endswith(".run") else mirror.mirror_url(run)
    plan = mirror.read_plan(folder)
    if plan is None:
        if transfer.find_file(run) is not None:
            return _finished(run)
        raise InputError(
            f"there is neither an output at {redact_url(run)} nor a run folder beside it; check "
            "the URL of the run's output"
        )

    names = [url_name(file.url).removesuffix(".json") for file in transfer.list_files(folder)]
    digest = plan.digest()
    found = [mirror.read_record(folder, int(name), digest) for name in names if name.isdigit()]
    return _summarise(plan, [r for r in found if r is not None], [], 0, "unknown")


def _summarise(
    plan: Plan,
    records: list[SegmentRecord],
    times: list[float],
    attempts: int,
    state: Literal["running", "stopped", "unknown"],
) -> RunStatus:
    """Return a run's status, given the records of its committed segments and their commit times.

    `times` (seconds since the epoch) has an entry for each record, or is empty if unknown.
    """
    by_segment = {record.segment: record for record in records}
    missing = tuple(s.index for s in plan.segments if s.index not in by_segment)
    done = sum(record.frames for record in by_segment.values())
    frames = len(plan.reference_map)

    seconds_left = None
    if state == "running" and len(times) > 1 and max(times) > min(times):
        # the first segment does not count, because its frames were made before the first commit
        first = records[times.index(min(times))]
        pace = (done - first.frames) / (max(times) - min(times))
        seconds_left = round((frames - done) / pace, 1) if pace > 0 else None

    return RunStatus(
        output=plan.output_url or plan.output,
        state=state,
        frames=frames,
        frames_done=done,
        segments=len(plan.segments),
        segments_done=len(by_segment),
        missing=missing,
        attempts=attempts,
        last_commit=round(time.time() - max(times), 1) if times else None,
        seconds_left=seconds_left,
    )


def _finished(output: str) -> RunStatus:
    """Return the status of a finished output, which has no run folder; all counts are 0."""
    return RunStatus(
        output=output,
        state="done",
        frames=0,
        frames_done=0,
        segments=0,
        segments_done=0,
        missing=(),
        attempts=0,
        last_commit=None,
        seconds_left=None,
    )


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def describe_status(status: RunStatus) -> str:
    """Return the status as a few lines of text."""
    if status.state == "done":
        return f"{status.output}: done; no run is in progress"

    state = {
        "running": "running",
        "stopped": "stopped; run the same command again to resume",
        "unknown": "in progress",
    }[status.state]
    lines = [
        f"{status.output}: {state}",
        f"  {status.segments_done} of {status.segments} segments, "
        f"{status.frames_done} of {status.frames} frames",
    ]

    if status.missing:
        listed = ", ".join(map(str, status.missing[:_LISTED]))
        more = len(status.missing) - _LISTED
        lines.append(f"  missing: {listed}" + (f" and {more} more" if more > 0 else ""))
    if status.last_commit is not None:
        lines.append(f"  last commit {format_seconds(status.last_commit)} ago")
    if status.seconds_left is not None:
        lines.append(f"  about {format_seconds(status.seconds_left)} left")
    return "\n".join(lines)
