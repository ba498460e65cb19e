"""Keep local copies of remote files: download once per machine, evict the least recently used.

The folder is $PIPELINE_CACHE (default: ~/.cache/crossnetpp-pipeline), and the size limit for copies
is $PIPELINE_CACHE_GB gigabytes:

    files/<digest of URL and version>/<name>    a copy, beside a used-by-<pid> for each process
                                                that uses it
    files/<digest of content>/<name>            what arrived through a pipe, until its run ends
    outputs/<digest of URL>/<name>              an output before its upload, beside its run folder
    scratch/<pid>-*                             segments of a process before their upload
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil
from filelock import FileLock

from deploy.cache import cache_root
from pipeline.errors import InputError
from pipeline.paths import is_url, local_path, own_folder, redact_url, url_name
from pipeline.remote.transfer import RemoteFile, download_file, find_file, list_files
from pipeline.schema.clip import Recording
from pipeline.schema.parsing import read_number_variable
from pipeline.schema.plan import Plan

DEFAULT_GB = 50.0
_USER = "used-by-"


def cache_folder() -> Path:
    """Return the cache's folder, and create it if needed; raises InputError if that fails."""
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot create the cache {folder}: {error.strerror}; "
            "set PIPELINE_CACHE to a writable folder"
        ) from error
    return folder


def read_capacity() -> int:
    """Return the size limit for copies in bytes. Raises InputError if it is not a number."""
    return int(read_number_variable("PIPELINE_CACHE_GB", DEFAULT_GB, "gigabytes") * 1e9)


def fetch_copy(url: str) -> Path:
    """Return the path of a local copy of the file at a URL, or of the files directly in a folder.

    If `url` is a local path or file:// URL, its path is returned. Raises InputError if nothing is
    at the URL, or if it does not fit into the cache.
    """
    if not is_url(url):
        return Path(local_path(url))

    if (found := find_file(url)) is not None:
        return _copy_to_cache(url, [found], single=True)
    if members := list_files(url):
        return _copy_to_cache(url, members, single=False)
    raise InputError(
        f"there is nothing at {redact_url(url)}; expected a file or folder; check the URL"
    )


def output_path(url: str) -> Path:
    """Return the local path of an output that will be uploaded to `url`."""
    path = cache_folder() / "outputs" / _digest(url) / url_name(url)
    _own_folders(path.parent)
    return path


def keep_file(file: Path, digest: str, name: str) -> Path:
    """Move a local file into the cache, and return its path, which depends on digest and name."""
    entry = cache_folder() / "files" / digest[:32]
    entry.mkdir(parents=True, exist_ok=True)
    target = entry / name
    with FileLock(entry.with_name(f"{entry.name}.lock")):
        entry.mkdir(exist_ok=True)
        (entry / f"{_USER}{os.getpid()}").touch()
        if not target.exists():
            file.replace(target)
        os.utime(entry)
    return target


def release_file(file: Path) -> None:
    """Delete a file that `keep_file` returned, unless another process uses it."""
    entry = file.parent
    lock = entry.with_name(f"{entry.name}.lock")
    with FileLock(lock):
        (entry / f"{_USER}{os.getpid()}").unlink(missing_ok=True)
        if not _is_in_use(entry):
            shutil.rmtree(entry, ignore_errors=True)
            lock.unlink(missing_ok=True)


def make_scratch_folder() -> Path:
    """Create a folder for this process's segments, and delete the folders of dead processes."""
    folder = cache_folder() / "scratch"
    _own_folders(folder)
    for old in folder.iterdir():
        pid = old.name.partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))


def fetch_recordings(plan: Plan) -> Plan:
    """Return the plan, in which local copies replace the recordings that are at URLs."""
    return plan.map_recordings(_fetch_recording)


def _copy_to_cache(url: str, members: list[RemoteFile], *, single: bool) -> Path:
    versions = "".join(f"{m.url} {m.size} {m.version}\n" for m in members)
    entry = cache_folder() / "files" / _digest(url + "\n" + versions)
    _own_folders(entry)
    target = entry / url_name(url)

    with FileLock(entry.with_name(f"{entry.name}.lock")):
        _own_folders(entry)
        # mark the entry as used before another process can evict it
        (entry / f"{_USER}{os.getpid()}").touch()
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
    """Delete the least recently used copies until `needed` bytes fit, but not the entry `spare`."""
    capacity = read_capacity()
    if needed > capacity:
        raise InputError(
            f"the download needs {needed / 1e9:.2f} GB, expected at most the cache's "
            f"{capacity / 1e9:.2f} GB; increase PIPELINE_CACHE_GB"
        )

    entries = [e for e in (cache_folder() / "files").iterdir() if e.is_dir() and e != spare]
    sizes = {entry: _size(entry) for entry in entries}
    held = sum(sizes.values())
    for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
        if held + needed <= capacity:
            return
        if _is_in_use(entry):
            continue
        shutil.rmtree(entry, ignore_errors=True)
        entry.with_name(f"{entry.name}.lock").unlink(missing_ok=True)
        held -= sizes[entry]


def _own_folders(folder: Path) -> None:
    """Take over or create a folder in the cache and its parents there, as `own_folder` does."""
    root = cache_folder()
    for part in reversed(folder.relative_to(root).parents):
        if part.name:
            own_folder(root / part)
    own_folder(folder)


def _is_in_use(entry: Path) -> bool:
    pids = [user.name.removeprefix(_USER) for user in entry.glob(f"{_USER}*")]
    return any(pid.isdecimal() and _is_alive(int(pid)) for pid in pids)


def _is_alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fetch_recording(recording: Recording) -> Recording:
    if not recording.url:
        return recording
    return recording.with_path(str(fetch_copy(recording.url)))
