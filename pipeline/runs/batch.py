"""Run many inputs, one after the other, with a result for each and a list of those to run again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.errors import Interrupted, PipelineError, as_pipeline_error
from pipeline.execution.cluster.connection import JOB_VARIABLE
from pipeline.paths import is_url
from pipeline.progress import Reporter
from pipeline.remote import transfer
from pipeline.remote.pipes import find_pipes, read_pipes
from pipeline.runs.manifest import Entry
from pipeline.runs.parts import RunParts
from pipeline.runs.result import BatchResult, ItemResult, RunResult
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings

logger = logging.getLogger(__name__)

_FAILED = "pipeline.failed.jsonl"
RunOne = Callable[[RunSettings, Reporter, RunParts], RunResult]


def run_all(
    entries: Iterable[Entry],
    progress: Reporter,
    failed_list: str,
    parts: RunParts | None = None,
    *,
    run_one: RunOne = run,
) -> tuple[BatchResult, Interrupted | None]:
    """Run one input after the other; a failed input does not stop the batch, but a signal does.

    `failed_list` is the path or URL of the list of inputs to run again. After a signal, the results
    are returned together with the Interrupted to raise.
    """
    start = time.monotonic()
    entries = tuple(entries)
    parts = parts or RunParts()  # with the engine that the inputs share
    with read_shared_pipes(entries, progress.note) as readable:
        results, interrupted = _run_each(readable, progress, parts, run_one)
    return batch_result(entries, results, failed_list, start), interrupted


def _run_each(
    entries: Sequence[Entry], progress: Reporter, parts: RunParts, run_one: RunOne
) -> tuple[list[ItemResult], Interrupted | None]:
    """Return the result of every input, and the Interrupted that ended the batch, if any."""
    results: list[ItemResult] = []
    interrupted: Interrupted | None = None
    for number, entry in enumerate(entries, 1):
        result = failed_item(entry, entry.error, "not run" if interrupted else "failed")
        if interrupted is None and entry.settings is not None:
            progress.note(f"[{number}/{len(entries)}] {entry.settings.input}")
            try:
                result = finished_item(entry, run_one(entry.settings, progress, parts))
            except Interrupted as error:
                interrupted = error
                result = failed_item(entry, str(error), "not run")
            except Exception as error:
                logger.info("%s failed", entry.settings.input, exc_info=error)
                reason = str(as_pipeline_error(error))
                result = failed_item(entry, reason, "failed")
                progress.note(f"failed: {' '.join(reason.split())}")
        results.append(result)
    return results, interrupted


@contextlib.contextmanager
def read_shared_pipes(
    entries: Iterable[Entry], note: Callable[[str], None]
) -> Iterator[tuple[Entry, ...]]:
    """Yield the entries with copies in place of pipes that several of them read.

    A pipe can be read only once, but inputs often share a reference. Raises InputError as
    `read_pipes` does.
    """
    entries = tuple(entries)
    piped = [find_pipes(entry.settings) if entry.settings else {} for entry in entries]
    counts = Counter(path for pipes in piped for path in set(pipes.values()))
    shared = [path for path, count in counts.items() if count > 1]

    with read_pipes(shared, note) as copies:
        yield tuple(
            _replace_pipes(entry, pipes, copies)
            for entry, pipes in zip(entries, piped, strict=True)
        )


def _replace_pipes(entry: Entry, pipes: dict[str, str], copies: dict[str, Path]) -> Entry:
    """Return an entry whose settings name copies of pipes, so far as there are copies."""
    settings = entry.settings
    changed = {name: str(copies[path]) for name, path in pipes.items() if path in copies}
    if settings is None or not changed:
        return entry
    if settings.output is None:
        changed.pop("input", None)  # the output would be beside the copy: the run refuses the pipe
    return entry.model_copy(update={"settings": settings.model_copy(update=changed)})


def finished_item(entry: Entry, result: RunResult) -> ItemResult:
    """Return the result of a finished input."""
    return ItemResult(
        input=str(entry.given["input"]), output=result.output, status="done", result=result
    )


def failed_item(
    entry: Entry, error: str | None, status: Literal["failed", "not run"]
) -> ItemResult:
    """Return the result of an input that failed or was not run."""
    output = entry.given.get("output")
    return ItemResult(input=str(entry.given["input"]), output=output, status=status, error=error)


def batch_result(
    entries: Sequence[Entry], results: Sequence[ItemResult], failed_list: str, start: float
) -> BatchResult:
    """Return the totals over all inputs, and write the list of inputs that are not done."""
    again = [
        entry.given
        for entry, result in zip(entries, results, strict=True)
        if result.status != "done"
    ]

    written: str | None = None
    lines = "".join(json.dumps(row) + "\n" for row in again)
    # a list that cannot be written must not hide the results
    with contextlib.suppress(OSError, PipelineError):
        _replace_list(failed_list, lines)
        written = failed_list if again else None

    return BatchResult(
        items=tuple(results),
        done=len(results) - len(again),
        failed=len(again),
        frames=sum(item.result.frames for item in results if item.result),
        seconds=round(time.monotonic() - start, 3),
        failed_list=written,
    )


def _replace_list(place: str, lines: str) -> None:
    """Write the list or, if all inputs are done, delete the list of an earlier run."""
    if is_url(place):
        if lines:
            transfer.write_bytes(place, lines.encode())
        else:
            transfer.remove_file(place)
    elif lines:
        _write_private(Path(place), lines)
    else:
        Path(place).unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, because URLs may contain passwords.

    A link at `path` is replaced, not followed.
    """
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")


def failed_list_place(manifest: str | None, output: str | None) -> str:
    """Return the path or URL of the list of failures.

    With a manifest, the list is beside it. Otherwise it is in the folder of the outputs if that is
    at a URL or this process is part of a Ray job, and else in the working directory.
    """
    if manifest is not None:
        place = manifest if is_url(manifest) else Path(manifest).absolute().as_posix()
        folder, _, name = place.rpartition("/")
        stem = name.removesuffix(PurePosixPath(name).suffix).removesuffix(".failed")
        return f"{folder}/{stem}.failed.jsonl"

    before = (output or "").partition("{stem}")[0]
    if output and is_url(output):
        return f"{before.rpartition('/')[0]}/{_FAILED}"
    if output and JOB_VARIABLE in os.environ:
        beside = Path(output) if Path(output).is_dir() else Path(f"{before}_").parent
        return str(beside.absolute() / _FAILED)
    return str(Path(_FAILED).absolute())
