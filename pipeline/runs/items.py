"""The results of a batch's inputs, their totals, and the list of inputs to run again."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.adaptation.shared import SharedWeights
from pipeline.errors import PipelineError
from pipeline.execution.cluster.connection import JOB_VARIABLE
from pipeline.ledger.run_folder import run_folder_of
from pipeline.paths import is_url
from pipeline.remote import transfer
from pipeline.runs.manifest import Entry, anchor_paths
from pipeline.runs.parts import RunParts
from pipeline.runs.result import BatchResult, ItemResult, RunResult

_LIST_SUFFIX = ".failed.jsonl"
_FAILED = f"pipeline{_LIST_SUFFIX}"


def finished_item(entry: Entry, result: RunResult) -> ItemResult:
    """Return the result of a finished input."""
    return ItemResult(
        input=str(entry.given["input"]), output=result.output, status="done", result=result
    )


def find_unrun(entry: Entry, parts: RunParts) -> ItemResult | None:
    """Return the result of an input that is invalid or skipped, or None if it has to be run."""
    if entry.skip is not None:
        return skipped_item(entry, entry.skip)
    if entry.settings is None:
        return failed_item(entry, entry.error, "failed")

    existing = find_existing_output(entry) if parts.skips_existing else None
    return None if existing is None else skipped_item(entry, describe_existing(existing), existing)


def skipped_item(entry: Entry, note: str, output: str | None = None) -> ItemResult:
    """Return the result of an input that is skipped for the reason in `note`."""
    output = output or entry.given.get("output")
    return ItemResult(input=str(entry.given["input"]), output=output, status="skipped", note=note)


def failed_item(
    entry: Entry, error: str | None, status: Literal["failed", "not run"]
) -> ItemResult:
    """Return the result of an input that failed or was not run."""
    output = entry.given.get("output")
    return ItemResult(input=str(entry.given["input"]), output=output, status=status, error=error)


def batch_result(
    entries: Sequence[Entry], results: Sequence[ItemResult], failed_list: str, start: float
) -> BatchResult:
    """Return the totals over all inputs, and write the list of inputs to run again.

    `start` is the monotonic time at which the batch began. If the list cannot be written, the
    result's `failed_list` is None.
    """
    # the list may be in another folder, to which its relative paths would refer
    again = [
        anchor_paths(entry.given, Path.cwd().as_posix())
        for entry, result in zip(entries, results, strict=True)
        if result.status in ("failed", "not run")
    ]
    counts = Counter(result.status for result in results)

    written: str | None = None
    lines = "".join(json.dumps(row) + "\n" for row in again)
    # a list that cannot be written must not hide the results
    with contextlib.suppress(OSError, PipelineError):
        _replace_list(failed_list, lines)
        written = failed_list if again else None

    return BatchResult(
        items=tuple(results),
        done=counts["done"],
        skipped=counts["skipped"],
        failed=len(again),
        frames=sum(item.result.frames for item in results if item.result),
        seconds=round(time.monotonic() - start, 3),
        failed_list=written,
    )


def _replace_list(place: str, lines: str) -> None:
    """Write the list of inputs or, if it is empty, delete the list that an earlier run left."""
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


def find_existing_output(entry: Entry) -> str | None:
    """Return the path of an entry's output if it exists and has no run folder, else None.

    The result is also None for a default output, which is not known until the input is planned, for
    a URL, and for a folder, which may be the output or only contain it.
    """
    output = entry.settings.output if entry.settings else None
    if output is None or is_url(output) or not os.path.lexists(output) or Path(output).is_dir():
        return None
    return None if run_folder_of(Path(output)).exists() else output


def describe_existing(output: str) -> str:
    """Return the reason why an input with an existing output is skipped."""
    return f"its output {output} already exists"


def share_weights(parts: RunParts, failed_list: str) -> RunParts:
    """Return the parts with the weights that a batch shares, stored beside its list of failures."""
    place = failed_list.removesuffix(_LIST_SUFFIX)
    return replace(parts, shared_weights=SharedWeights(f"{place}.adapted"))


def remove_shared_weights(entries: Sequence[Entry], parts: RunParts, result: BatchResult) -> None:
    """Delete the weights that the inputs shared, unless an input failed or was not run."""
    together = any(entry.settings and entry.settings.adapt_together for entry in entries)
    if together and parts.shared_weights is not None and not result.failed:
        with contextlib.suppress(OSError, PipelineError):
            parts.shared_weights.remove()


def failed_list_place(manifest: str | None, output: str | None) -> str:
    """Return the path or URL of the list of failures.

    With a manifest, the list is beside it. Otherwise, the list is in the folder of the outputs if
    the folder is at a URL or this process is part of a Ray job, and in the working directory if
    not.
    """
    if manifest is not None:
        place = manifest if is_url(manifest) else Path(manifest).absolute().as_posix()
        folder, _, name = place.rpartition("/")
        stem = name.removesuffix(PurePosixPath(name).suffix).removesuffix(".failed")
        return f"{folder}/{stem}{_LIST_SUFFIX}"

    before = (output or "").partition("{stem}")[0]
    if output and is_url(output):
        return f"{before.rpartition('/')[0]}/{_FAILED}"
    if output and JOB_VARIABLE in os.environ:
        beside = Path(output) if Path(output).is_dir() else Path(f"{before}_").parent
        return str(beside.absolute() / _FAILED)
    return str(Path(_FAILED).absolute())
