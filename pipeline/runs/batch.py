"""Run many inputs, one after the other, and return a result for each."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import Interrupted, OutputExistsError, as_pipeline_error
from pipeline.interrupt import Interrupts
from pipeline.progress import BatchReporter, Reporter
from pipeline.remote.pipes import find_pipes, read_pipes
from pipeline.runs.batch_progress import BatchProgress, InputReporter
from pipeline.runs.items import (
    batch_result,
    describe_existing,
    failed_item,
    find_unrun,
    finished_item,
    remove_shared_weights,
    share_weights,
    skipped_item,
)
from pipeline.runs.manifest import Entry, check_shared_output, make_entries
from pipeline.runs.own_outputs import ClaimedOutputs
from pipeline.runs.parts import RunParts
from pipeline.runs.result import BatchResult, ItemResult, RunResult
from pipeline.runs.run import run
from pipeline.runs.watch import Pauses, watch_folder
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings

logger = logging.getLogger(__name__)

_BETWEEN = "interrupted before anything was written; run the same command again"
RunOne = Callable[[RunSettings, Reporter, RunParts], RunResult]


def run_all(
    entries: Iterable[Entry],
    progress: BatchReporter,
    failed_list: str,
    parts: RunParts | None = None,
    *,
    run_one: RunOne = run,
) -> tuple[BatchResult, Interrupted | None]:
    """Run one input after the other; a failed input does not stop the batch, but a signal does.

    The inputs to run again are listed in a file at `failed_list`, a path or URL. After a signal,
    the results are returned together with the Interrupted that the caller should raise.
    """
    start = time.monotonic()
    entries = tuple(entries)
    # all inputs share the engine and the adapted weights in these parts
    parts = share_weights(parts or RunParts(), failed_list)
    results: list[ItemResult] = []
    with Interrupts() as interrupts, read_shared_pipes(entries, progress.note) as readable:
        interrupted = run_each(readable, results, progress, parts, interrupts, run_one)
    result = batch_result(entries, results, failed_list, start)
    remove_shared_weights(entries, parts, result)
    return result, interrupted


def run_watched(
    folder: str,
    common: dict[str, Any],
    pauses: Pauses,
    progress: BatchReporter,
    failed_list: str,
    parts: RunParts,
) -> tuple[BatchResult, Interrupted | None]:
    """Run recordings as they appear in a folder, like `run_all`, until a signal or an idle period.

    `common` contains the settings that all recordings share. Raises InputError if there is no such
    folder, or if the common output is not suitable for several inputs.
    """
    start = time.monotonic()
    check_shared_output(common.get("output"))
    parts = share_weights(parts, failed_list)
    watched = watch_folder(
        folder,
        lambda names: make_entries(names, None, common, found=True),
        partial(run_each, reporter=progress, parts=parts),
        pauses,
        progress.note,
    )
    result = batch_result(watched.entries, watched.results, failed_list, start)
    remove_shared_weights(watched.entries, parts, result)
    return result, watched.interrupted


def run_each(
    entries: Sequence[Entry],
    results: list[ItemResult],
    reporter: BatchReporter,
    parts: RunParts,
    interrupts: Interrupts,
    run_one: RunOne = run,
) -> Interrupted | None:
    """Run the inputs and append the result of each to `results`.

    Return the Interrupted that ended the batch, or None.
    """
    names = [str(entry.given["input"]) for entry in entries]
    progress = BatchProgress(names, reporter)
    outputs = ClaimedOutputs(names)
    interrupted: Interrupted | None = None
    for number, entry in enumerate(entries):
        count = len(results)
        try:
            result = find_unrun(entry, parts)
            if result is None and interrupted is not None:
                result = failed_item(entry, None, "not run")
            elif result is None:
                progress.begin(number)
                result = _run_entry(number, entry, progress, outputs, reporter, parts, run_one)
            with interrupts.defer():  # a signal must not cause a result to be lost
                results.append(result)
                progress.end(number, result)
        except (Interrupted, KeyboardInterrupt) as error:
            interrupted = error if isinstance(error, Interrupted) else Interrupted(_BETWEEN)
            if len(results) == count:
                result = failed_item(entry, str(interrupted), "not run")
                results.append(result)
                progress.end(number, result)
    return interrupted


def _run_entry(
    number: int,
    entry: Entry,
    progress: BatchProgress,
    outputs: ClaimedOutputs,
    reporter: BatchReporter,
    parts: RunParts,
    run_one: RunOne,
) -> ItemResult:
    """Run one input and return its result; only a signal raises an exception."""
    assert entry.settings is not None

    def on_open(plan: Plan, done: int) -> None:
        outputs.claim(number, plan.output)
        progress.measure(number, plan, done)

    parts = replace(parts, on_open=on_open)
    try:
        each = InputReporter(number, progress, reporter)
        return finished_item(entry, run_one(entry.settings, each, parts))
    except Interrupted:
        raise
    except OutputExistsError as error:
        if parts.skips_existing:
            return skipped_item(entry, describe_existing(error.path), error.path)
        return failed_item(entry, str(error), "failed")
    except Exception as error:
        logger.info("%s failed", entry.settings.input, exc_info=error)
        return failed_item(entry, str(as_pipeline_error(error)), "failed")


@contextlib.contextmanager
def read_shared_pipes(
    entries: Iterable[Entry], note: Callable[[str], None]
) -> Iterator[tuple[Entry, ...]]:
    """Yield the entries, with each pipe that several of them read replaced by a file copy.

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
    """Return the entry, with each pipe that has a copy replaced by the copy's path."""
    settings = entry.settings
    changed = {name: str(copies[path]) for name, path in pipes.items() if path in copies}
    if settings is None or not changed:
        return entry
    if settings.output is None:
        # the default output would be beside the copy, so keep the pipe, which the run then rejects
        changed.pop("input", None)
    return entry.model_copy(update={"settings": settings.model_copy(update=changed)})
