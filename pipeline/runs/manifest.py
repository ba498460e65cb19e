"""List the inputs of a batch from several paths, a glob, or a CSV or JSONL manifest."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.media.pictures.stills import SUFFIXES
from pipeline.paths import describe_special, is_url, url_name
from pipeline.remote import transfer
from pipeline.remote.transfer import glob_urls, list_files
from pipeline.runs.folders import list_videos
from pipeline.runs.own_outputs import find_outputs_of_inputs, locate_output
from pipeline.schema.model import Model
from pipeline.schema.settings import GridSettings, RunSettings

EMPTY: Mapping[str, Any] = MappingProxyType({})
_MOST_BYTES = 256 << 20  # maximum size of a manifest in bytes
_LONGEST_VALUE = 1 << 20  # maximum number of characters in a CSV value
_PROBLEM = " problem"  # key of the reason why a row cannot be run; no setting has such a name
ALIASES = {"reference": "ref_stream", "ref": "ref_stream"}  # column of a manifest -> setting
_PATHS = ("input", "ref_stream", "output", "plan", "ground_truth")  # settings that are paths
_WORDS_OR_FILES = ("capture", "model", "adapt")  # settings that are words or names of files


class Entry(Model):
    """One input of a batch, with its settings or the reason why it has none."""

    given: dict[str, Any]
    """The values that the user specified, which are written to the list of failures."""
    settings: RunSettings | None
    error: str | None = None
    """Why the input is invalid."""
    skip: str | None = None
    """Why the input is skipped."""


def is_batch(
    inputs: tuple[str, ...], manifest: str | None, common: Mapping[str, Any] = EMPTY
) -> bool:
    """Return whether the arguments of a command denote a batch.

    A batch is a manifest, several paths, or a glob or a folder of videos. With `common` settings
    for light fields, a folder is a single recording.
    """
    if manifest is not None or len(inputs) > 1:
        return True
    return any(_is_glob(name) or _list_folder(name, common) is not None for name in inputs)


def make_entries(
    inputs: tuple[str, ...],
    manifest: str | None,
    common: dict[str, Any],
    *,
    found: bool = False,
) -> tuple[Entry, ...]:
    """Return the inputs to run; the settings in a line of the manifest override the `common` ones.

    `found` means that the inputs were found in a folder. The common output may then be a folder
    even for a single input.

    An invalid line becomes an entry with an error, and an input that is the output of another one
    becomes an entry to skip. Raises InputError if the manifest cannot be read, if there is no
    input, or if the common output is not suitable for several inputs.
    """
    _check_expanded_pattern(inputs, common.get("ref_stream"))
    named = list(_expand(inputs, common))
    rows: list[dict[str, Any]] = [{"input": name} for name in named]
    if manifest is not None:
        rows += read_manifest(manifest)
    if not rows:
        raise InputError(
            f"there is no input in {' '.join(inputs) or manifest}; check the path or pattern"
        )

    several = len(rows) > 1
    found = found or several or manifest is not None or named != list(inputs)
    entries = [_make_entry(_merge_row(common, row, several=several, found=found)) for row in rows]
    sources = find_outputs_of_inputs(named)
    for i, path in enumerate(named):
        if path in sources:
            note = f"it is the output of {sources[path]}; pass it alone to enhance it again"
            entries[i] = entries[i].model_copy(update={"settings": None, "skip": note})

    read = {_place(entry.settings.input) for entry in entries if entry.settings}
    outputs: set[str] = set()
    for i, entry in enumerate(entries):
        name = entry.settings.output if entry.settings else None
        if name is not None and locate_output(name) in outputs:
            error = (
                f"the output {name} is also the output of another input; choose a different one "
                "for each input"
            )
            entries[i] = entry.model_copy(update={"settings": None, "error": error})
        elif name is not None and _place(name) in read:
            error = f"the output {name} is also an input; choose another output"
            entries[i] = entry.model_copy(update={"settings": None, "error": error})
        if name is not None:
            outputs.add(locate_output(name))
    return tuple(entries)


def read_manifest(place: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV or JSONL file at a path or URL, with the settings' names as keys.

    Relative paths in the rows are relative to the file's folder. Raises InputError if the file
    cannot be read, or if a row has no input.
    """
    try:
        content = transfer.read_bytes(place) if is_url(place) else _read_list(place)
        text = (content or b"").decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the manifest {place} ({getattr(error, 'strerror', 'not text')}); "
            "pass a CSV file with a column named input, or a JSONL file"
        ) from error

    rows = _csv_rows(text, place) if place.lower().endswith(".csv") else _json_rows(text, place)
    if not rows or not all(row.get("input") for row in rows):
        raise InputError(
            f"{place} contains {'a line without an' if rows else 'no'} input; every line needs the "
            "column or key input (and may have reference, output and options); see --help"
        )
    folder = place.rpartition("/")[0] if is_url(place) else str(Path(place).absolute().parent)
    return [anchor_paths(row, folder) for row in rows]


def anchor_paths(row: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return a row whose relative paths have been made absolute, by prepending `folder`.

    `folder` is a path or URL. A value that may also be a word, such as a capture, counts as a path
    if it names a file with a suffix in `folder`.
    """
    anchored = dict(row)
    for name in (*_PATHS, *_WORDS_OR_FILES):
        value = str(row.get(name) or "")
        if not value or "://" in value or Path(value).is_absolute():
            continue
        path = f"{folder}/{value}"
        if name in _PATHS or (Path(value).suffix and _is_file(path)):
            anchored[name] = path
    return anchored


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False  # not a possible path, which the setting's check will report


def _place(path: str) -> str:
    """Return a path with all links followed; a URL is returned unchanged."""
    return path if is_url(path) else os.path.realpath(path)


def _read_list(place: str) -> bytes:
    """Return the bytes of a manifest; raises InputError if it is a device or too large."""
    if describe_special(place) in ("device", "terminal"):
        raise InputError(f"{place} is a device, but must be a CSV or JSONL file; check --manifest")
    with Path(place).open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InputError(
            f"the manifest {place} is larger than {_MOST_BYTES >> 20} MiB; split it into several"
        )
    return content


def _make_entry(given: dict[str, Any]) -> Entry:
    problem = given.pop(_PROBLEM, None)
    texts = [value for value in given.values() if isinstance(value, str)]
    if problem is None and any("\0" in text for text in texts):
        problem = "a value contains a NUL character; correct that line"
    if problem is not None:
        return Entry(given=given, settings=None, error=problem)

    try:
        return Entry(given=given, settings=RunSettings(**given))
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0] if first["loc"] else "the options"
        problem = first["msg"].removeprefix("Value error, ")
        message = f"{first['input']!r} is not a valid value of {name}: {problem}"
        return Entry(given=given, settings=None, error=message)


def _merge_row(
    common: dict[str, Any], row: dict[str, Any], *, several: bool, found: bool
) -> dict[str, Any]:
    """Return the common settings, overridden by a row's settings, with {stem} filled in.

    For several inputs, the common output must be a folder or contain {stem}. For a single input, it
    may be a folder if the input was `found` by a glob, in a folder or in a manifest.
    """
    merged = common | row
    stem = Path(str(row["input"])).stem
    for name in ("ref_stream", "output"):
        if merged.get(name):
            merged[name] = str(merged[name]).replace("{stem}", stem)
    output = common.get("output")
    if "output" not in row and output is not None and "{stem}" not in output:
        if found and is_url(output) and output.endswith("/"):
            merged["output"] = output + url_name(str(row["input"]))
        elif found and Path(output).is_dir():
            merged["output"] = str(Path(output) / Path(str(row["input"])).name)
        elif several:
            check_shared_output(output)
    return merged


def check_shared_output(output: str | None) -> None:
    """Raise InputError unless an output is a folder or a pattern, as a batch requires."""
    if output is None or "{stem}" in output or (is_url(output) and output.endswith("/")):
        return
    if not Path(output).is_dir():
        raise InputError(
            f"-o {output} cannot be used for several outputs; pass an existing folder, or a "
            "pattern such as 'out/{stem}_x4.mp4'"
        )


def _csv_rows(text: str, place: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    csv.field_size_limit(_LONGEST_VALUE)
    rows = []
    try:
        names = [name for name in reader.fieldnames or () if name]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{place} has two columns named {repeated[0]}; rename one of them")
        for row in reader:
            surplus = any(row.pop(None, ()))  # DictReader's key for surplus values
            if not surplus and not any(row.values()):
                continue  # spreadsheets write an empty line as commas
            flat = _flat({k: v for k, v in row.items() if k and v})
            if surplus:
                flat[_PROBLEM] = (
                    f"line {reader.line_num} has more values than there are columns; put quotes "
                    "around values that contain commas"
                )
            rows.append(flat)
    except csv.Error as error:
        raise InputError(
            f"line {reader.line_num + 1} of {place} is not valid CSV ({error}); correct that line"
        ) from error
    return rows


def _json_rows(text: str, place: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"line {number} of {place} is not a JSON object such as "
                '{"input": "a.mp4", "reference": "a_hr.mp4"}; correct that line'
            )
        rows.append(_flat(row))
    return rows


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with settings' names as keys, to which the row's `options` are added."""
    options: Any = row.pop("options", None) or {}
    if isinstance(options, str):
        # in CSV, all options share one cell: scale=4 crf=18
        options = dict(part.partition("=")[::2] for part in options.split())
    if not isinstance(options, dict):
        problem = f'options is {options!r}, but must be an object such as {{"crf": 18}}'
        options = {_PROBLEM: f"{problem}; correct that line"}
    # null in JSON means the same as an empty cell in CSV: the command's value applies
    stated = {k: v for k, v in (row | options).items() if v is not None}
    flat = {ALIASES.get(k, k).replace("-", "_"): v for k, v in stated.items()}
    escaped = {_escape(key): _escape(value) for key, value in flat.items()}
    if escaped != flat:
        escaped[_PROBLEM] = "the text is not valid Unicode; correct that line"
    return escaped


def _escape(value: Any) -> Any:
    """Return a value; if it is text, escape lone surrogates, which JSON can contain."""
    if not isinstance(value, str):
        return value
    return value.encode(errors="backslashreplace").decode()


def _is_glob(name: str) -> bool:
    """Return whether `name` is a glob of videos, or the URL of a folder of videos.

    Pictures form one recording, whether a glob or a folder selects them.
    """
    if is_url(name) and name.endswith("/"):
        found = list_files(name)
        return bool(found) and not any(Path(f.url).suffix.lower() in SUFFIXES for f in found)
    if name.startswith(("http://", "https://")):
        return False  # the question mark of a signed URL begins its query
    wild = any(character in name for character in "*?[") and not Path(name).exists()
    return wild and Path(name).suffix.lower() not in SUFFIXES


def _check_expanded_pattern(inputs: tuple[str, ...], ref: Any) -> None:
    """Raise InputError if a shell seems to have expanded the pattern of the references.

    In `pipeline run VIDEO --ref-stream stills/*.jpg`, all pictures but the first become inputs.
    """
    if not isinstance(ref, str) or Path(ref).suffix.lower() not in SUFFIXES:
        return
    like = [each for each in inputs if Path(each).suffix == Path(ref).suffix]
    beside = [each for each in like if Path(each).parent == Path(ref).parent]
    if not beside or len(like) == len(inputs):
        return
    pattern = Path(ref).parent / f"*{Path(ref).suffix}"
    raise InputError(
        f"{beside[0]}, from the folder of the reference {ref}, was passed as an input along with "
        "a recording, perhaps because the shell expanded a pattern; to use all the pictures as "
        f"references, quote the pattern: --ref-stream '{pattern}'"
    )


def _list_folder(name: str, common: Mapping[str, Any]) -> list[str] | None:
    """Return the videos in a local folder.

    The result is None if `name` is anything else, or a light field according to the settings.
    """
    if any(common.get(field) is not None for field in GridSettings.model_fields):
        return None
    return list_videos(name, sandbox=common.get("sandbox") == "on")


def _expand(inputs: tuple[str, ...], common: Mapping[str, Any]) -> Iterator[str]:
    for name in inputs:
        videos = _list_folder(name, common)
        if videos is not None:
            yield from videos
            continue
        if is_url(name) and _is_glob(name):
            yield from (
                [f.url for f in list_files(name)] if name.endswith("/") else glob_urls(name)
            )
        elif _is_glob(name):
            yield from sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - any pattern
        else:
            yield name
