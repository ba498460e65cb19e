"""Run many inputs, one after the other, with a result for each and a list of those to run again."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.errors import Interrupted, as_pipeline_error
from pipeline.progress import Reporter
from pipeline.remote.pipes import find_pipes, read_pipes
from pipeline.runs.items import (
    batch_result,
    failed_item,
    finished_item,
    remove_shared_weights,
    share_weights,
    unrun_item,
)
from pipeline.runs.manifest import Entry
from pipeline.runs.parts import RunParts
from pipeline.runs.result import BatchResult, ItemResult, RunResult
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings

logger = logging.getLogger(__name__)

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
    # with the engine and the weights that the inputs share
    parts = share_weights(parts or RunParts(), failed_list)
    with read_shared_pipes(entries, progress.note) as readable:
        results, interrupted = _run_each(readable, progress, parts, run_one)
    result = batch_result(entries, results, failed_list, start)
    remove_shared_weights(entries, parts, result)
    return result, interrupted


def _run_each(
    entries: Sequence[Entry], progress: Reporter, parts: RunParts, run_one: RunOne
) -> tuple[list[ItemResult], Interrupted | None]:
    """Return the result of every input, and the Interrupted that ended the batch, if any."""
    results: list[ItemResult] = []
    interrupted: Interrupted | None = None
    for number, entry in enumerate(entries, 1):
        if entry.settings is None:
            results.append(unrun_item(entry))
            continue
        if interrupted is not None:
            results.append(failed_item(entry, None, "not run"))
            continue

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
