"""`pipeline status RUN`: how far a running or dead run is, from its run folder alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click
from filelock import FileLock, Timeout

from pipeline.errors import InputError
from pipeline.ledger import mirror
from pipeline.ledger.run_folder import run_folder_of, stored_plan
from pipeline.paths import is_url, redact_url, url_name
from pipeline.progress import describe_seconds
from pipeline.remote import transfer
from pipeline.schema.clip import Model
from pipeline.schema.plan import Plan, SegmentRecord

_MANY = 8
"""Missing segments that are named."""


class RunStatus(Model):
    """What a run folder tells; the fields of `--json`."""

    output: str
    state: Literal["running", "stopped", "done", "unknown"]
    """running or stopped for a run folder here; unknown for one at a URL, which has no lock."""
    frames: int
    frames_done: int
    segments: int
    segments_done: int
    missing: tuple[int, ...]
    """Indices of segments that are not committed."""
    attempts: int
    """Segments being written, or left half-written by a kill."""
    last_commit: float | None
    """Seconds since the last commit."""
    seconds_left: float | None
    """While running: at the pace of the commits so far."""


def status(run: str) -> RunStatus:
    """Return the state of a run, given its output or its run folder; raises InputError."""
    if is_url(run):
        return _status_at_url(run)
    output = Path(run).absolute()
    if output.name.startswith(".") and output.name.endswith(".run"):
        output = output.with_name(output.name[1:].removesuffix(".run"))
    folder = run_folder_of(output)
    plan = stored_plan(output)
    if plan is None:
        if output.exists():
            return _finished(str(output))
        raise InputError(
            f"found no run of {output}, expected its run folder {folder.name}; "
            "give the run's output"
        )
    times, records = [], []
    for file in sorted((folder / "segments").glob("[0-9]*.json")):
        try:
            records.append(SegmentRecord.model_validate_json(file.read_text(encoding="utf-8")))
            times.append(file.stat().st_mtime)
        except (FileNotFoundError, ValueError):
            continue  # finished meanwhile, or broken: a run will do it again
    attempts = len(list((folder / "segments").glob("attempt-*.nut")))
    state: Literal["running", "stopped"] = "running" if _locked(folder / "lock") else "stopped"
    return _summary(plan, records, times, attempts, state)


def _status_at_url(run: str) -> RunStatus:
    folder = run if run.rstrip("/").endswith(".run") else mirror.mirror_of(run)
    plan = mirror.stored_plan(folder)
    if plan is None:
        if transfer.find(run) is not None:
            return _finished(run)
        raise InputError(f"found no run at {redact_url(run)}; give the run's output")
    names = [url_name(file.url).removesuffix(".json") for file in transfer.files_in(folder)]
    digest = plan.digest()
    found = [mirror.stored_record(folder, int(name), digest) for name in names if name.isdigit()]
    return _summary(plan, [r for r in found if r is not None], [], 0, "unknown")


def _summary(
    plan: Plan,
    records: list[SegmentRecord],
    times: list[float],
    attempts: int,
    state: Literal["running", "stopped", "unknown"],
) -> RunStatus:
    digests = {record.segment: record for record in records}
    missing = tuple(s.index for s in plan.segments if s.index not in digests)
    done = sum(record.frames for record in digests.values())
    frames = len(plan.reference_map)
    left = None
    if state == "running" and len(times) > 1 and max(times) > min(times):
        # the first commit's own frames were not made between the two times
        pace = (done - records[0].frames) / (max(times) - min(times))
        left = round((frames - done) / pace, 1) if pace > 0 else None
    return RunStatus(
        output=plan.output_url or plan.output,
        state=state,
        frames=frames,
        frames_done=done,
        segments=len(plan.segments),
        segments_done=len(digests),
        missing=missing,
        attempts=attempts,
        last_commit=round(time.time() - max(times), 1) if times else None,
        seconds_left=left,
    )


def _finished(output: str) -> RunStatus:
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


def _locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(run: str, as_json: bool) -> None:
    """Say how far the run of an output is; RUN is its OUT, a path or URL."""
    found = status(run)
    click.echo(found.model_dump_json() if as_json else _describe(found))


def _describe(found: RunStatus) -> str:
    if found.state == "done":
        return f"{found.output}: done, no run is open"
    said = {
        "running": "running",
        "stopped": "stopped; run the same command again to resume",
        "unknown": "open",
    }
    lines = [
        f"{found.output}: {said[found.state]}",
        f"  {found.segments_done} of {found.segments} segments, "
        f"{found.frames_done} of {found.frames} frames",
    ]
    if found.missing:
        more = "" if len(found.missing) <= _MANY else f" and {len(found.missing) - _MANY} more"
        lines.append(f"  missing: {', '.join(map(str, found.missing[:_MANY]))}{more}")
    if found.last_commit is not None:
        lines.append(f"  last commit {describe_seconds(found.last_commit)} ago")
    if found.seconds_left is not None:
        lines.append(f"  about {describe_seconds(found.seconds_left)} left")
    return "\n".join(lines)
