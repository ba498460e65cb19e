"""The fuzzer notices any file that a reader opens besides its input, and starts undamaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.media.cut import CONTAINERS, cut_beginnings
from jobs.stress.fuzz_media import find_opened_outside, fuzz, list_samples, trace_command
from tests.support.programs import needs

needs_strace = needs("strace")


@needs_strace
def test_a_reader_that_opens_another_file_or_the_network_is_noticed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    trace = tmp_path / "trace"
    secret.write_text("x")
    code = (
        f"open({str(secret)!r}).read()\nimport socket\nsocket.socket().connect_ex(('127.0.0.1', 9))"
    )
    subprocess.run([*trace_command(trace), sys.executable, "-c", code], check=True)
    assert find_opened_outside(trace) == sorted(["127.0.0.1", str(secret)])


@needs_strace
def test_damaged_recordings_open_nothing_else(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    answers = dict(fuzz(60, seed=7, count=12, trace=trace))
    assert len(answers) == 12
    assert trace.stat().st_size > 0
    assert find_opened_outside(trace) == []


def test_whole_runs_start_with_every_recording_undamaged_in_every_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only = [path for path in list_samples() if path.name == "nasa_13013.mp4"]
    monkeypatch.setattr("jobs.stress.fuzz_media.list_samples", lambda: only)
    whole = len(CONTAINERS)
    assert len(cut_beginnings(only[0])) == whole
    answers = list(dict(fuzz(120, seed=3, count=whole + 2, runs=True)).values())
    assert answers[:whole] == ["read and enhanced"] * whole
    assert all(answer.split()[0] in ("read", "refused") for answer in answers[whole:])
