"""Keep local copies of remote files: download once per machine, evict the least recently used.

The folder is $PIPELINE_CACHE (default: ~/.cache/crossnetpp-pipeline), and the size limit for copies
is $PIPELINE_CACHE_GB gigabytes:

    files/<digest of URL and version>/<name>    a copy, beside a mark of each process that uses it
    files/<digest of content>/<name>            a recording from a pipe, until its run ends
    outputs/<digest of URL>/<name>              an output before its upload, beside its run folder
    scratch/work-*                              segments before their upload, pipes being copied

No other user can write to these folders, so they contain only what this program put there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from deploy.cache import cache_root
from pipeline.errors import InputError
from pipeline.paths import is_url, local_path, own_folder, redact_url, sha256, url_name
from pipeline.remote.in_use import is_used, mark_used, release_mark, remove_unused
from pipeline.remote.transfer import RemoteFile, download_file, find_file, list_files
from pipeline.schema.clip import Recording
from pipeline.schema.parsing import read_number_variable
from pipeline.schema.plan import Plan

DEFAULT_GB = 50.0
_SCRATCH = "work-"  # beginning of the names of scratch folders


def cache_folder() -> Path:
    """Return the cache's folder, and create it if needed; raises InputError if that fails."""
    folder = cache_root()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot create the cache {folder}: {error.strerror}; "
            "set PIPELINE_CACHE to a writable folder"
        ) from error
    return folder


def read_capacity() -> int:
    """Return the size limit for copies, in bytes.

    Raises InputError if PIPELINE_CACHE_GB is set to anything but a positive number.
    """
    return int(read_number_variable("PIPELINE_CACHE_GB", DEFAULT_GB, "gigabytes") * 1e9)


def fetch_copy(url: str) -> Path:
    """Return the path of a local copy of the file or folder at a URL.

    The copy of a folder has no subfolders. If `url` is a local path or a file:// URL, its path is
    returned. Raises InputError if there is nothing at the URL, if access is denied, or if the copy
    does not fit into the cache, and PipelineError if the download fails.
    """
    if not is_url(url):
        return Path(local_path(url))

    if (found := find_file(url)) is not None:
        return _copy_to_cache(url, [found], single=True)
    if members := list_files(url):
        return _copy_to_cache(url, members, single=False)
    raise InputError(f"there is no file or folder at {redact_url(url)}, so check the URL")


def output_path(url: str) -> Path:
    """Return the local path of an output that will be uploaded to `url`, and create its folder."""
    path = cache_folder() / "outputs" / _digest(url) / url_name(url)
    _own_folders(path.parent)
    return path


def keep_file(file: Path, digest: str, name: str) -> Path:
    """Move a local file into the cache unless it is there already, and return its path there.

    The path depends on `digest`, the file's SHA-256, and on `name`. `release_file` deletes it.
    """
    entry = cache_folder() / "files" / digest[:32]
    _own_folders(entry)
    target = entry / name
    with FileLock(_lock_of(entry)):
        _own_folders(entry)
        mark_used(entry)
        if not target.exists() or sha256(target) != digest:
            file.replace(target)
        os.utime(entry)
    return target


def release_file(file: Path) -> None:
    """Delete a file that `keep_file` returned, unless something else still uses it."""
    entry = file.parent
    with FileLock(_lock_of(entry)):
        release_mark(entry)
        remove_unused(entry)
        if not entry.exists():
            _lock_of(entry).unlink(missing_ok=True)


def make_scratch_folder() -> Path:
    """Delete the scratch folders of dead processes, and return a new one for this process."""
    folder = cache_folder() / "scratch"
    _own_folders(folder)
    with FileLock(folder / "all.lock"):
        for old in folder.glob(f"{_SCRATCH}*"):
            remove_unused(old)
        made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
        mark_used(made)
    return made


def remove_scratch_folder(folder: Path) -> None:
    """Delete a folder that `make_scratch_folder` returned."""
    release_mark(folder)
    shutil.rmtree(folder, ignore_errors=True)


def fetch_recordings(plan: Plan) -> Plan:
    """Download the plan's recordings at URLs if needed, and return the plan with local copies."""
    return plan.map_recordings(_fetch_recording)


def _copy_to_cache(url: str, members: list[RemoteFile], *, single: bool) -> Path:
    versions = "".join(f"{m.url} {m.size} {m.version}\n" for m in members)
    entry = cache_folder() / "files" / _digest(url + "\n" + versions)
    _own_folders(entry)
    target = entry / url_name(url)

    with FileLock(_lock_of(entry)):
        _own_folders(entry)
        # mark the entry as used before another process can evict it
        mark_used(entry)
        if not target.exists():
            _make_room(sum(m.size or 0 for m in members), spare=entry)
            if single:
                download_file(members[0], target)
            else:
                _download_folder(members, target)
        os.utime(entry)
    return target


def _download_folder(members: list[RemoteFile], target: Path) -> None:
    partial = target.with_name(".folder")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for member in members:
        download_file(member, partial / url_name(member.url))
    partial.rename(target)


def _make_room(needed: int, *, spare: Path) -> None:
    """Delete the least recently used copies, except `spare`, until `needed` more bytes fit.

    Copies that are in use stay, even if the cache then exceeds its limit. Raises InputError if
    `needed` alone exceeds the limit.
    """
    capacity = read_capacity()
    if needed > capacity:
        raise InputError(
            f"a download of {needed / 1e9:.2f} GB does not fit into the cache, which is limited to "
            f"{capacity / 1e9:.2f} GB; increase PIPELINE_CACHE_GB"
        )

    entries = [e for e in (cache_folder() / "files").iterdir() if e.is_dir() and e != spare]
    sizes = {entry: _size(entry) for entry in entries}
    held = sum(sizes.values())
    for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
        if held + needed <= capacity:
            return
        if _evict(entry):
            held -= sizes[entry]


def _evict(entry: Path) -> bool:
    """Delete a copy and return True; return False if another process uses it or is about to."""
    lock = FileLock(_lock_of(entry))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if is_used(entry):
            return False
        shutil.rmtree(entry, ignore_errors=True)
        _lock_of(entry).unlink(missing_ok=True)
        return True
    finally:
        lock.release()


def _own_folders(folder: Path) -> None:
    """Apply `own_folder` to a folder in the cache and to its parents there."""
    root = cache_folder()
    for part in reversed(folder.relative_to(root).parents):
        if part.name:
            own_folder(root / part)
    own_folder(folder)


def _lock_of(entry: Path) -> Path:
    """Return the path of the lock that a process holds while it changes an entry."""
    return entry.with_name(f"{entry.name}.lock")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fetch_recording(recording: Recording) -> Recording:
    if not recording.url:
        return recording
    return recording.with_path(str(fetch_copy(recording.url)))
