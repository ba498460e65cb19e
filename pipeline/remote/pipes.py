"""Copy recordings to files if they arrive through a pipe, a socket or standard input.

Such a recording can be read only once, but a run reads its recordings several times. The copy's
path depends on its content, so that passing the same content again resumes an interrupted run.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from pipeline.errors import InputError, no_default_output
from pipeline.paths import describe_special, find_descriptor
from pipeline.remote.cache import (
    keep_file,
    make_scratch_folder,
    release_file,
    remove_scratch_folder,
)
from pipeline.schema.settings import InputSettings

Settings = TypeVar("Settings", bound=InputSettings)

_READ = ("input", "ref_stream", "ground_truth")  # settings whose value is a recording
_CHUNK = 1 << 20  # bytes
_LEAST_FREE = 64 << 20  # bytes that a copy must leave free on the disk
_PATIENCE_SECONDS = 3.0  # how long a pipe may stay silent before a note says so
_HEAD = 16  # bytes at the beginning of a recording that identify its format

# First bytes -> suffix, for readers that recognize recordings by their names.
_SUFFIXES = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\x76\x2f\x31\x01", ".exr"),
    (b"\x89HDF", ".h5"),
    (b"\x1a\x45\xdf\xa3", ".mkv"),
    (b"YUV4MPEG2", ".y4m"),
)


@contextmanager
def read_piped_settings(
    settings: Settings, output: str | None, note: Callable[[str], None] | None = None
) -> Iterator[Settings]:
    """Yield the settings with recordings that arrive through pipes replaced by files.

    Copies are deleted at the end of the block. Raises InputError if a pipe cannot be copied, or if
    the input is a pipe and no `output` is given.
    """
    piped = find_pipes(settings)
    if "input" in piped and output is None:
        raise no_default_output(_name(settings.input))

    with read_pipes(piped.values(), note) as copies:
        changed = {name: str(copies[value]) for name, value in piped.items()}
        yield settings.model_copy(update=changed) if changed else settings


def find_pipes(settings: InputSettings) -> dict[str, str]:
    """Return a map from setting names to those recordings that cannot be opened repeatedly."""
    given = {name: value for name in _READ if (value := getattr(settings, name, None))}
    return {name: value for name, value in given.items() if describe_special(value)}


@contextmanager
def read_pipes(
    paths: Collection[str],
    note: Callable[[str], None] | None = None,
    *,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[dict[str, Path]]:
    """Yield a map from each pipe, socket or `-` to a file; delete the copies after the block.

    `note` receives a message about each recording that is copied. `on_wait`, or else `note`,
    receives a message about each pipe that stays empty for a few seconds. Raises InputError if a
    path is a terminal or another device, or if a pipe is empty or cannot be copied.
    """
    if not paths:
        yield {}
        return

    files = {path: _find_file(path) for path in paths}
    copies = {path: file for path, file in files.items() if file is not None}
    waiting = [path for path in files if path not in copies]
    for path in waiting:
        _refuse_endless(path)
        if note is not None:
            note(f"copying {_name(path)}, which can be read only once")

    made: list[Path] = []
    try:
        for path, file in _copy_together(waiting, on_wait or note or _ignore):
            copies[path] = file
            made.append(file)
        yield copies
    finally:
        for file in made:
            release_file(file)


def _find_file(path: str) -> Path | None:
    """Return the file from which standard input or a descriptor reads; None for a pipe."""
    if describe_special(path) != "file":
        return None
    descriptor = find_descriptor(path)
    link = Path(os.path.realpath(f"/dev/fd/{descriptor}"))
    if descriptor is None or not link.is_file():
        return None
    return link if os.path.samestat(link.stat(), os.fstat(descriptor)) else None


def _refuse_endless(path: str) -> None:
    """Raise InputError if `path` is a terminal or another device, whose data may never end."""
    kind = describe_special(path)
    if kind in ("terminal", "device"):
        raise InputError(
            f"{_name(path)} is a {kind}, but must be a file, a folder or a pipe; record to a file "
            "first, and pass that file"
        )


def _copy_together(
    paths: Collection[str], on_wait: Callable[[str], None]
) -> Iterator[tuple[str, Path]]:
    """Yield the path of each pipe and the path of its copy, as soon as the copy is complete.

    `on_wait` receives a note about each pipe that stays empty for a few seconds.

    All pipes are copied at the same time, because one program may write to several in turn.
    """
    folder = make_scratch_folder()
    results: queue.Queue[tuple[str, Path | BaseException]] = queue.Queue()
    silent = set(paths)

    def copy(path: str, part: Path) -> None:
        try:
            results.put((path, _copy_pipe(path, part, lambda: silent.discard(path))))
        except BaseException as error:
            results.put((path, error))

    try:
        for number, path in enumerate(paths):
            # a thread that waits for a writer must not keep the process alive
            threading.Thread(target=copy, args=(path, folder / str(number)), daemon=True).start()
        missing = len(paths)
        patience: float | None = _PATIENCE_SECONDS
        while missing:
            try:
                path, result = results.get(timeout=patience)
            except queue.Empty:
                patience = None
                for path in sorted(silent):
                    on_wait(f"waiting for data from {_name(path)}; Ctrl-C ends this command")
                continue
            missing -= 1
            if isinstance(result, BaseException):
                raise result
            yield path, result
    finally:
        remove_scratch_folder(folder)


def _ignore(_: str) -> None:
    pass


def _copy_pipe(path: str, part: Path, on_data: Callable[[], None]) -> Path:
    """Read a pipe to its end, and return the path of the copy.

    The suffix of the copy matches its format if that is recognised. `on_data` is called as data
    arrives. Raises InputError if the pipe cannot be copied or is empty, or if the disk is almost
    full.
    """
    digest = hashlib.sha256()
    head = b""
    try:
        with _open_pipe(path) as source, part.open("wb") as copy:
            while chunk := source.read1(_CHUNK):
                on_data()
                head = head or chunk[:_HEAD]
                digest.update(chunk)
                copy.write(chunk)
                if shutil.disk_usage(part.parent).free < _LEAST_FREE:
                    raise InputError(
                        f"{part.parent.parent} has too little space for the recording that arrives "
                        f"through {_name(path)}; set PIPELINE_CACHE to a folder on another disk"
                    )
    except OSError as error:
        raise InputError(
            f"{_name(path)} cannot be copied to {part.parent.parent} ({error.strerror}); save the "
            "recording to a file first, and pass that file"
        ) from error

    if not head:
        raise InputError(
            f"{_name(path)} is empty, but must contain a recording; check the program that writes "
            "to it, and note that a pipe can be read only once"
        )
    return keep_file(part, digest.hexdigest(), _name_copy(path, head))


def _open_pipe(path: str) -> BufferedReader:
    """Open a pipe, a socket or standard input for reading."""
    descriptor = find_descriptor(path)
    if descriptor is not None:
        # a socket can be read only through this process's own descriptor
        return os.fdopen(os.dup(descriptor), "rb")
    return Path(path).open("rb")


def _name_copy(path: str, head: bytes) -> str:
    """Return the name for the copy of a pipe whose first bytes are `head`."""
    given = Path(_name(path))
    stem = "stdin" if find_descriptor(path) == 0 else given.stem
    suffix = next((end for start, end in _SUFFIXES if head.startswith(start)), given.suffix)
    if head[4:8] == b"ftyp":
        suffix = given.suffix or ".mp4"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        suffix = ".webp"
    return f"{stem if stem and not stem.isdigit() else 'pipe'}{suffix}"


def _name(path: str) -> str:
    return "standard input" if path == "-" else path
