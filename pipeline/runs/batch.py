"""Many inputs in one command: the list of them, one result for each, and what to run again."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.errors import InputError, Interrupted, PipelineError
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.paths import is_url, url_name
from pipeline.progress import Reporter
from pipeline.remote import transfer
from pipeline.remote.transfer import glob_urls as remote_glob
from pipeline.remote.transfer import list_files
from pipeline.runs.run import RunResult, run
from pipeline.schema.clip import Model
from pipeline.schema.settings import RunSettings

NAMES = {"reference": "ref_stream", "ref": "ref_stream"}
"""Columns of a manifest that are called otherwise among the settings."""
_FAILED = "pipeline.failed.jsonl"
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for what a job starts: this folder is one of the cluster then."""


class Entry(Model):
    """One input of a batch: its settings, or why there are none."""

    given: dict[str, Any]
    """What the list says, to be written down again where it fails."""
    settings: RunSettings | None
    error: str | None = None


class ItemResult(Model):
    """What became of one input."""

    input: str
    output: str | None
    status: Literal["done", "failed", "not run"]
    error: str | None = None
    result: RunResult | None = None


class BatchResult(Model):
    """What became of all of them; the fields of `--json`."""

    items: tuple[ItemResult, ...]
    done: int
    failed: int
    """Failed or not run."""
    frames: int
    seconds: float
    failed_list: str | None
    """File to be given to `--manifest`, which holds what is not done.

    None if all is, or where the file could not be written."""


def is_batch(inputs: tuple[str, ...], manifest: str | None) -> bool:
    """Return whether the arguments mean many inputs: a list, several, or a glob of videos."""
    return manifest is not None or len(inputs) > 1 or any(_is_glob(name) for name in inputs)


def entries(
    inputs: tuple[str, ...], manifest: str | None, common: dict[str, Any]
) -> tuple[Entry, ...]:
    """Return what to run: `common` settings for all, each line's own over them.

    Raises InputError for a list that cannot be read; a wrong line becomes an entry with an error.
    """
    rows = [{"input": name} for name in _expand(inputs)]
    if manifest is not None:
        rows += read_manifest(manifest)
    if not rows:
        raise InputError(
            f"found no input in {' '.join(inputs) or manifest}, expected at least one; "
            "check the pattern"
        )
    several = len(rows) > 1
    found = [_entry(_placed(common, row, several=several)) for row in rows]
    outputs: set[str] = set()
    for i, entry in enumerate(found):
        name = entry.settings.output if entry.settings else None
        if name is not None and name in outputs:
            error = f"found the output {name} twice in the list, expected one for each input"
            found[i] = entry.model_copy(update={"settings": None, "error": error})
        outputs.add(name or "")
    return tuple(found)


def read_manifest(place: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV or JSONL file, here or at a URL; paths in it are relative to it."""
    try:
        content = transfer.read_bytes(place) if is_url(place) else Path(place).read_bytes()
        text = (content or b"").decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"found no readable list at {place} ({getattr(error, 'strerror', 'not text')}), "
            "expected CSV with a column input, or JSONL; check --manifest"
        ) from error
    rows = _csv_rows(text) if place.lower().endswith(".csv") else _json_rows(text, place)
    if not rows or not all(row.get("input") for row in rows):
        raise InputError(
            f"found {'a line without' if rows else 'no'} input in {place}, expected a column or "
            "key input (and reference, output, options) in every line; see --help"
        )
    folder = place.rpartition("/")[0] if is_url(place) else str(Path(place).absolute().parent)
    return [_absolute(row, folder) for row in rows]


def run_all(
    items: Iterable[Entry], progress: Reporter, failed_list: str
) -> tuple[BatchResult, Interrupted | None]:
    """Run one input after the other; errors of one do not stop the others, a signal does."""
    start = time.monotonic()
    results: list[ItemResult] = []
    again: list[dict[str, Any]] = []
    interrupted: Interrupted | None = None
    items = tuple(items)
    for number, entry in enumerate(items, 1):
        outcome = failure(entry, entry.error, "not run" if interrupted else "failed")
        if interrupted is None and entry.settings is not None:
            progress.note(f"[{number}/{len(items)}] {entry.settings.input}")
            try:
                outcome = success(entry, run(entry.settings, progress))
            except Interrupted as error:
                interrupted = error
                outcome = failure(entry, str(error), "not run")
            except PipelineError as error:
                outcome = failure(entry, str(error), "failed")
                progress.note(f"failed: {' '.join(str(error).split())}")
        results.append(outcome)
        if outcome.status != "done":
            again.append(entry.given)
    return conclude(results, again, failed_list, start), interrupted


def success(entry: Entry, result: RunResult) -> ItemResult:
    """Return what became of an input that is done."""
    return ItemResult(
        input=str(entry.given["input"]), output=result.output, status="done", result=result
    )


def failure(entry: Entry, error: str | None, status: Literal["failed", "not run"]) -> ItemResult:
    """Return what became of an input that is not done."""
    output = entry.given.get("output")
    return ItemResult(input=str(entry.given["input"]), output=output, status=status, error=error)


def conclude(
    results: list[ItemResult], again: list[dict[str, Any]], failed_list: str, start: float
) -> BatchResult:
    """Write down what is to be run again and return the sums."""
    written: str | None = None
    lines = "".join(json.dumps(row) + "\n" for row in again)
    # the results are worth more than their list
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
    """Write the list, or delete that of the run before where all is done now."""
    if is_url(place):
        transfer.write_bytes(place, lines.encode()) if lines else transfer.remove_file(place)
    elif lines:
        Path(place).write_text(lines, encoding="utf-8")
    else:
        Path(place).unlink(missing_ok=True)


def failed_list_place(manifest: str | None, output: str | None) -> str:
    """Return where the list of failures goes: where its reader is sure to find it.

    That is beside the manifest; else in the folder of the outputs, if this process works for
    somebody elsewhere; else in this folder.
    """
    if manifest is not None:
        place = manifest if is_url(manifest) else str(Path(manifest).absolute())
        folder, _, name = place.rpartition("/")
        stem = name.removesuffix(PurePosixPath(name).suffix).removesuffix(".failed")
        return f"{folder}/{stem}.failed.jsonl"
    folder = (output or "").partition("{stem}")[0].rpartition("/")[0]
    if output and is_url(output):
        return f"{folder}/{_FAILED}"
    if output and _IN_A_JOB in os.environ:
        return str((Path(output) if Path(output).is_dir() else Path(folder)).absolute() / _FAILED)
    return str(Path(_FAILED).absolute())


def _entry(given: dict[str, Any]) -> Entry:
    try:
        return Entry(given=given, settings=RunSettings(**given))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        wrong = f"found {first['input']!r} for {name}, which does not fit: {problem}"
        return Entry(given=given, settings=None, error=wrong)


def _placed(common: dict[str, Any], row: dict[str, Any], *, several: bool) -> dict[str, Any]:
    """Return a row over the common settings, with `-o` as a folder and {stem} filled in."""
    merged = common | row
    stem = Path(str(row["input"])).stem
    if merged.get("ref_stream"):
        merged["ref_stream"] = str(merged["ref_stream"]).replace("{stem}", stem)
    output = common.get("output")
    if "output" not in row and output is not None:
        if "{stem}" in output:
            merged["output"] = output.replace("{stem}", stem)
        elif several and is_url(output) and output.endswith("/"):
            merged["output"] = output + url_name(str(row["input"]))
        elif several and Path(output).is_dir():
            merged["output"] = str(Path(output) / Path(str(row["input"])).name)
        elif several:
            raise InputError(
                f"found -o {output} for several inputs, expected a folder that exists or a "
                "pattern such as 'out/{stem}_x4.mp4'; make the folder first"
            )
    return merged


def _csv_rows(text: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    return [_flat({k: v for k, v in row.items() if k and v}) for row in rows]


def _json_rows(text: str, path: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            row = error.msg
        if not isinstance(row, dict):
            raise InputError(
                f"found no JSON object in line {number} of {path}, expected one like "
                '{"input": "a.mp4", "reference": "a_hr.mp4"}; mend that line'
            )
        rows.append(_flat(row))
    return rows


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with `options` beside the other keys, and keys as settings are called."""
    options: Any = row.pop("options", None) or {}
    if isinstance(options, str):
        # CSV has one cell for them: scale=4 crf=18
        options = dict(part.partition("=")[::2] for part in options.split())
    return {NAMES.get(k, k).replace("-", "_"): v for k, v in (row | options).items()}


def _absolute(row: dict[str, Any], folder: str) -> dict[str, Any]:
    named = ("input", "ref_stream", "output", "plan", "ground_truth")
    paths = {
        key: f"{folder}/{row[key]}"
        for key in named
        if row.get(key) and "://" not in str(row[key]) and not str(row[key]).startswith("/")
    }
    return row | paths


def _is_glob(name: str) -> bool:
    """Return whether this is a pattern of videos or a bucket's folder of them.

    One of pictures is a single recording.
    """
    if is_url(name) and name.endswith("/"):
        found = list_files(name)
        return bool(found) and not any(Path(f.url).suffix.lower() in SUFFIXES for f in found)
    if name.startswith(("http://", "https://")):
        return False  # a question mark begins a query there, as of a signed URL
    wild = any(character in name for character in "*?[") and not Path(name).exists()
    return wild and Path(name).suffix.lower() not in SUFFIXES


def _expand(inputs: tuple[str, ...]) -> Iterator[str]:
    for name in inputs:
        if is_url(name) and _is_glob(name):
            yield from (
                [f.url for f in list_files(name)] if name.endswith("/") else remote_glob(name)
            )
        elif _is_glob(name):
            yield from sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - any pattern
        else:
            yield name
