"""Local copies of remote files: fetched once per machine, the least recently used leave first.

The folder is $PIPELINE_CACHE (else ~/.cache/crossnetpp-pipeline), its size $PIPELINE_CACHE_GB:

    files/<digest of URL and version>/<name>    a copy; beside it used-by-<pid> of living users
    outputs/<digest of URL>/<name>              an output on its way to its URL, with its run folder
    scratch/<pid>-*                             segments of an actor before they are uploaded
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from deploy.cache import cache_root
from pipeline.errors import InputError
from pipeline.paths import is_url, local_path, redact_url, url_name
from pipeline.remote.transfer import RemoteFile, download_file, find_file, list_files
from pipeline.schema.clip import Clip
from pipeline.schema.plan import Plan

DEFAULT_GB = 50.0
_USER = "used-by-"


def cache_folder() -> Path:
    """Return the cache's folder, made if it is not there."""
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the cache {folder}: {error.strerror}; set PIPELINE_CACHE to a folder"
        ) from error
    return folder


def read_capacity() -> int:
    """Return how many bytes of copies are kept."""
    text = os.environ.get("PIPELINE_CACHE_GB", str(DEFAULT_GB))
    try:
        return int(float(text) * 1e9)
    except ValueError:
        raise InputError(
            f"found PIPELINE_CACHE_GB={text}, expected a number of gigabytes"
        ) from None


def fetch_copy(url: str) -> Path:
    """Return a local copy of a file or of the files in a folder; what is no URL, as it is."""
    if not is_url(url):
        return Path(local_path(url))
    if (found := find_file(url)) is not None:
        return _copy(url, [found], url_name(url), single=True)
    if members := list_files(url):
        return _copy(url, members, url_name(url), single=False)
    raise InputError(
        f"found nothing at {redact_url(url)}, expected a file or folder; check the URL"
    )


def _copy(url: str, members: list[RemoteFile], name: str, *, single: bool) -> Path:
    stated = "".join(f"{m.url} {m.size} {m.version}\n" for m in members)
    entry = cache_folder() / "files" / _digest(url + "\n" + stated)
    entry.mkdir(parents=True, exist_ok=True)
    target = entry / name
    with FileLock(entry.with_name(f"{entry.name}.lock")):
        entry.mkdir(exist_ok=True)
        # before others look for room, and before the copy is there to be looked at
        (entry / f"{_USER}{os.getpid()}").touch()
        if not target.exists():
            _make_room(sum(m.size or 0 for m in members), keep=entry)
            if single:
                download_file(members[0], target)
            else:
                partial = entry / ".folder"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for member in members:
                    download_file(member, partial / url_name(member.url))
                partial.rename(target)
        os.utime(entry)
    return target


def _make_room(needed: int, *, keep: Path) -> None:
    free = read_capacity() - needed
    if free < 0:
        raise InputError(
            f"found {needed / 1e9:.2f} GB to fetch, more than the cache may hold "
            f"({read_capacity() / 1e9:.2f} GB); set PIPELINE_CACHE_GB higher"
        )
    entries = [e for e in (cache_folder() / "files").iterdir() if e.is_dir() and e != keep]
    sizes = {entry: _size(entry) for entry in entries}
    held = sum(sizes.values())
    for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
        if held <= free:
            return
        if _in_use(entry):
            continue
        shutil.rmtree(entry, ignore_errors=True)
        entry.with_name(f"{entry.name}.lock").unlink(missing_ok=True)
        held -= sizes[entry]


def _in_use(entry: Path) -> bool:
    return any(_alive(int(u.name.removeprefix(_USER))) for u in entry.glob(f"{_USER}*"))


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def output_path(url: str) -> Path:
    """Return where an output is made that will be uploaded to `url`."""
    path = cache_folder() / "outputs" / _digest(url) / url_name(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def make_scratch_folder() -> Path:
    """Return a new folder for this process's segments; those of dead processes are removed."""
    folder = cache_folder() / "scratch"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if not _alive(int(old.name.partition("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))


def fetch_recordings(plan: Plan) -> Plan:
    """Return a plan whose recordings lie on this machine."""
    reference = plan.reference.model_copy(update={"clip": _clip_here(plan.reference.clip)})
    return plan.model_copy(update={"input": _clip_here(plan.input), "reference": reference})


def _clip_here(clip: Clip) -> Clip:
    if not clip.url:
        return clip
    path = str(fetch_copy(clip.url))
    if path == clip.path:
        return clip
    # the driver's cache is elsewhere: every path below it is this one's
    text = clip.model_dump_json().replace(json.dumps(clip.path)[1:-1], json.dumps(path)[1:-1])
    return Clip.model_validate_json(text)
