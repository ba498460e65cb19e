"""Folders of the cache that living processes use, also in other containers, are not deleted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.remote import cache
from tests.support import ROOT

# Programs that use the cache, print a path in it, and live until their input ends.
HOLD_SCRATCH = "print(cache.make_scratch_folder(), flush=True); sys.stdin.read()"
HOLD_COPY = """
made = Path(sys.argv[1]); made.write_bytes(b"x" * 600)
print(cache.keep_file(made, hashlib.sha256(b"x" * 600).hexdigest(), "a.mkv"), flush=True)
sys.stdin.read()
"""
MAKE_SCRATCH = "print(cache.make_scratch_folder(), flush=True)"
IMPORTS = "import hashlib, sys; from pathlib import Path; from pipeline.remote import cache\n"
IN_CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def running(code: str, *arguments: object) -> Iterator[Path]:
    """Run a program that holds something in the cache, and yield the path that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.kill()


def run_in_container(code: str, *arguments: object) -> str:
    """Run a program in another namespace of process ids; skip the test where that is forbidden."""
    probe = subprocess.run([*IN_CONTAINER, "true"], check=False, capture_output=True)
    if probe.returncode != 0:
        pytest.skip("this system does not let tests make a namespace of process ids")
    done = subprocess.run(
        [*IN_CONTAINER, sys.executable, "-c", IMPORTS + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_scratch_folders_go_with_their_process() -> None:
    with running(HOLD_SCRATCH) as other:
        (other / "segments").mkdir()
        mine = cache.make_scratch_folder()
        assert other.is_dir()
    cache.make_scratch_folder()
    assert not other.exists()
    assert mine.is_dir()
    cache.remove_scratch_folder(mine)
    assert not mine.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_process_in_a_container_deletes_nothing_of_a_process_outside() -> None:
    with running(HOLD_SCRATCH) as outside:
        made = run_in_container(MAKE_SCRATCH)
        assert outside.is_dir()
    assert made != str(outside)


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_copies_that_are_used_outside_a_container_are_not_evicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE_GB", "0.000001")
    make_room = "cache._make_room(int(sys.argv[1]), spare=Path('/nowhere'))"
    with running(HOLD_COPY, tmp_path / "arrived") as copy:
        os.utime(copy.parent, (1, 1))
        run_in_container(make_room, 500)
        assert copy.read_bytes() == b"x" * 600
    run_in_container(make_room, 500)
    assert not copy.exists()


def test_a_copy_stays_until_its_last_user_in_this_process_releases_it(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"the same").hexdigest()
    kept = []
    for number in range(2):
        (tmp_path / str(number)).write_bytes(b"the same")
        kept.append(cache.keep_file(tmp_path / str(number), digest, "a.mkv"))
    assert kept[0] == kept[1]

    cache.release_file(kept[0])
    assert kept[1].read_bytes() == b"the same"
    cache.release_file(kept[1])
    assert not kept[1].parent.exists()
