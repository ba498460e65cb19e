"""Output that stdout cannot take is an error, whether Python buffers it or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DATA

CLIP = DATA / "odd/edts.mp4"
PIPELINE = [sys.executable, "-m", "pipeline"]
RUN = [*PIPELINE, "run", str(CLIP), "--ref-stream", str(CLIP), "--scale", "2", "--engine",
       "bicubic", "--runner", "inline", "--preset", "ultrafast", "-q"]  # fmt: skip


def choose_environment(unbuffered: str) -> dict[str, str]:
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return rest | ({"PYTHONUNBUFFERED": unbuffered} if unbuffered else {})


LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("more", "limit"), [(["--json"], 100), ([], 50)])
def test_a_disk_that_becomes_full_is_one_line(
    tmp_path: Path, more: list[str], limit: int, unbuffered: str
) -> None:
    """A limit on the size of files is like a disk with little room: it takes some of the bytes."""
    written = tmp_path / "out"
    command = [*PIPELINE, "probe", str(CLIP), *more]
    with written.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(limit), *command],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env=choose_environment(unbuffered),
            check=False,
        )
    assert written.stat().st_size <= limit
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(
    tmp_path: Path, unbuffered: str
) -> None:
    whole = tmp_path / "whole.mkv"
    subprocess.run([*RUN, "-o", str(whole)], check=True)
    assert whole.stat().st_size > 65536  # more than a pipe holds

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb") as pipe:
        environment = choose_environment(unbuffered)
        with subprocess.Popen([*RUN, "-o", "-"], stdout=writing, env=environment) as child:
            os.close(writing)
            assert pipe.read() == whole.read_bytes()
        assert child.returncode == 0
