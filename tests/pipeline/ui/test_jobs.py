"""Jobs run in child processes: they queue, pause, resume, fail in one line, and outlive the server.

The runs are real, with a bicubic engine; some wait in the middle so that they can be paused.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pkgutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.media.read.probe import probe, scan
from pipeline.ui.job import ChildMark
from pipeline.ui.store import JobStore
from tests.support.commands import invoke
from tests.support.gated_command import name_gate
from tests.support.page import PATIENCE_SECONDS, Page, serve_page, start_command
from tests.support.recordings import write_pair

PAIR_FRAMES = 20


def options_of(pair: tuple[Path, Path], output: Path) -> dict[str, str]:
    """Return options in which a run has two segments."""
    return {"segment": "0.4", "batch": "2", "output": str(output)}


def test_a_run_is_paused_and_resumed_by_another_server_with_the_same_bits(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mkv"
    options = options_of(pair, whole)
    words = [f"--{name}={value}" for name, value in options.items()]
    done = invoke("run", pair[0], "--ref-stream", pair[1], *words, "-q", "--engine", "bicubic",
                  "--preset", "ultrafast", "--runner", "inline")  # fmt: skip
    assert done.exit_code == 0, done.output

    with serve_page(tmp_path / "page", program=name_gate(14, tmp_path / "gate")) as page:
        job = page.create_job(*pair, **options_of(pair, tmp_path / "out.mkv"))
        second = page.create_job(*pair, **options_of(pair, tmp_path / "second.mkv"))
        page.wait_for(second, lambda found: found["is_planned"])
        page.call("POST", f"/api/jobs/{job}/start")
        page.call("POST", f"/api/jobs/{second}/start")
        committed = tmp_path / ".out.mkv.run" / "segments" / "00000.json"
        page.wait_for(job, lambda found: committed.exists())
        waiting = page.wait_for(second, lambda found: True)
        assert (waiting["state"], waiting["place"]) == ("queued", 1)
        shown = page.wait_for(job, lambda found: found["preview"] is not None)["preview"]
        assert page.request("GET", shown["after"])[1].startswith(b"\xff\xd8")

        page.call("POST", f"/api/jobs/{job}/pause")
        paused = page.wait_for(job, lambda found: found["state"] == "paused")
        assert paused["frames_done"] == 10  # of 20: the frames of the first segment
        page.wait_for(second, lambda found: found["state"] == "running")

    assert (tmp_path / ".out.mkv.run").is_dir()
    with serve_page(tmp_path / "page") as page:
        for each in (job, second):
            assert page.wait_for(each, lambda found: True)["state"] == "paused"
        page.call("POST", f"/api/jobs/{job}/start")
        found = page.wait_for(job, lambda found: found["state"] not in ("queued", "running"))
        assert (found["state"], found["error"]) == ("done", "")
        assert found["result"]["resumed_segments"] == 1
        assert found["report"]
        body = page.request("GET", f"/api/jobs/{job}/output")[1]
    assert body == (tmp_path / "out.mkv").read_bytes() == whole.read_bytes()


def test_errors_are_the_one_line_messages_of_the_program(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with serve_page(tmp_path / "page") as page:
        job = page.create_job(broken, pair[1])
        found = page.wait_for(job, lambda found: found["error"])
        assert found["error"].startswith(str(broken))
        assert found["state"] == "draft"

        page.call("POST", f"/api/jobs/{job}/options", {"scale": "99"})
        found = page.wait_for(job, lambda found: found["error"])
        assert "expected auto, or a number from 1 to 8" in found["error"]

        page.call("POST", f"/api/jobs/{job}/start")
        found = page.wait_for(job, lambda found: found["state"] == "failed")
        assert "expected auto, or a number from 1 to 8" in found["error"]


@pytest.mark.parametrize("step", ["make_run_command", "_parse_result"])
def test_a_job_fails_visibly_by_a_programming_error_and_the_next_one_runs(
    step: str,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serve_page(tmp_path / "page") as page:
        jobs = [page.create_job(*pair, **options_of(pair, tmp_path / f"{n}.mkv")) for n in "ab"]
        for job in jobs:
            page.wait_for(job, lambda found: found["is_planned"])

        place = f"pipeline.ui.work.{step}"
        failed: list[bool] = []
        right = pkgutil.resolve_name(place)

        def fail_first(*given: Any, **more: Any) -> Any:
            if not failed:
                failed.append(True)
                raise ZeroDivisionError("a\x1bb\nsecond line")
            return right(*given, **more)

        monkeypatch.setattr(place, fail_first)
        for job in jobs:
            page.call("POST", f"/api/jobs/{job}/start")
        found = page.wait_for(jobs[0], lambda found: found["state"] not in ("queued", "running"))
        assert found["state"] == "failed"
        assert "an unexpected error occurred (ZeroDivisionError: a" in found["error"]
        assert "\n" not in found["error"]
        assert page.wait_for(jobs[1], lambda found: found["state"] == "done")["error"] == ""
        log = caplog.text
        assert jobs[0] in log
        assert "Traceback" in log
        assert "\x1b" not in log

        # the failed job can be started again
        page.call("POST", f"/api/jobs/{jobs[0]}/start")
        again = page.wait_for(jobs[0], lambda found: found["state"] not in ("queued", "running"))
        # its first run may have finished although its end was not stored
        assert again["state"] == "done" or "already exists" in again["error"]


def test_a_plan_fails_visibly_by_a_programming_error_and_the_next_one_is_made(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a plan")

    with serve_page(tmp_path / "page") as page:
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.ui.work.make_plan_command", fail)
            job = page.create_job(*pair)
            found = page.wait_for(job, lambda found: found["error"])
            assert "ZeroDivisionError: a plan" in found["error"]
        page.call("POST", f"/api/jobs/{job}/options", {"segment": "0.4"})
        page.wait_for(job, lambda found: found["is_planned"] and not found["error"])


def test_an_event_that_cannot_be_stored_does_not_stop_a_run(
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with serve_page(tmp_path / "page") as page:
        monkeypatch.setattr("pipeline.ui.work.Work._note_event", fail)
        job = page.create_job(*pair, **options_of(pair, tmp_path / "out.mkv"))
        page.call("POST", f"/api/jobs/{job}/start")
        page.wait_for(job, lambda found: found["state"] == "done")
        assert "no space" in caplog.text


def test_a_failure_is_shown_even_if_it_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(tmp_path / "page")
    job = store.create()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("pipeline.ui.store.write_atomically", fail)
    store.keep_failure(job.id, "a\nb", state="failed")
    assert (store.find(job.id).state, store.find(job.id).error) == ("failed", "a b")
    store.close()


def test_uploads_key_frames_and_downloads(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path, frames=8)
    with serve_page(tmp_path / "page") as page:
        job = page.call("POST", "/api/jobs")["id"]
        files = f"/api/jobs/{job}/files"
        page.call("PUT", f"{files}/input?name=lr.mkv", lr.read_bytes())
        assert page.call("POST", f"{files}/input")["input_name"] == "lr.mkv"
        assert page.request("PUT", f"{files}/input?name=../x.mkv", b"x")[0] == 400
        assert page.request("PUT", f"{files}/other?name=x.mkv", b"x")[0] == 400

        page.call("POST", f"/api/jobs/{job}/key-frames", {"count": 2})
        page.wait_for(job, lambda found: found["key_frames"] == 2)
        packed = page.request("GET", f"/api/jobs/{job}/key-frames.zip")[1]
        names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
        assert "keyframes.json" in names
        assert len(names) == 3

        # the same frames, enlarged by another program, without the sidecar
        numbers = [int(name.split("_")[1]) for name in names if name.endswith(".png")]
        treated = make_treated_keys(hr, [n for n in names if n.endswith(".png")], numbers)
        page.call("PUT", f"{files}/reference?name=keys.zip", treated)
        page.call("POST", f"{files}/reference")
        found = page.wait_for(job, lambda found: found["is_planned"] or found["error"])
        assert found["error"] == ""
        plan = page.call("GET", f"/api/jobs/{job}/plan")
        assert (plan["frames"], plan["served"], plan["output_size"]) == (8, 8, [128, 96])
        assert plan["reference_count"] == 2
        picture = plan["reference_pictures"][0]["name"]
        assert page.request("GET", f"/api/jobs/{job}/plan/{picture}")[1].startswith(b"\xff\xd8")
        assert page.request("GET", f"/api/jobs/{job}/plan/..%2Fjob.json")[0] in (400, 404)
        page.call("DELETE", f"/api/jobs/{job}")
        assert page.call("GET", "/api/state")["jobs"] == []
    assert list((tmp_path / "page" / "jobs").iterdir()) == []


def make_treated_keys(hr: Path, names: list[str], numbers: list[int]) -> bytes:
    """Return a zip of frames of `hr` under the names of the key frames."""
    import cv2

    from pipeline.recording import open_frames

    clip = probe(str(hr))
    pts = scan(clip).pts
    reader = open_frames(clip)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, number in zip(names, numbers, strict=True):
            picture = cv2.cvtColor(reader.get(pts[number]), cv2.COLOR_RGB2BGR)
            archive.writestr(name, cv2.imencode(".png", picture)[1].tobytes())
    reader.close()
    return packed.getvalue()


def test_the_command_prints_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    with start_command("--folder", str(folder), "--host", "0.0.0.0") as (process, lines):
        assert "?token=" in lines[0]
        assert lines[1] == "stop it with Ctrl-C"
        refused = invoke("ui", "--no-open", "--port", "0", "--folder", folder)
        assert refused.exit_code == 2
        assert "another `pipeline ui`" in refused.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0


# Starts a program that does nothing for an hour, prints its number, and ends without it.
START_ORPHAN = """
import subprocess, sys
code = "import time; print('ready', flush=True); time.sleep(3600)"
pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
child = subprocess.Popen([sys.executable, "-c", code], **pipes)
child.stdout.readline()
print(child.pid)
"""


def test_a_run_that_outlived_its_server_is_interrupted(tmp_path: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-c", START_ORPHAN], capture_output=True, text=True, check=True
    )
    orphan = psutil.Process(int(started.stdout))
    store = JobStore(tmp_path / "page")
    marks = [
        ChildMark(pid=orphan.pid, started=orphan.create_time()),
        # the number of a process that is another's by now
        ChildMark(pid=os.getpid(), started=1.0),
    ]
    jobs = [store.change(store.create().id, state="running", child=mark) for mark in marks]
    store.close()

    with serve_page(tmp_path / "page") as page:
        for job in jobs:
            assert page.wait_for(job.id, lambda found: True)["state"] == "paused"
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("options", b"{", "no JSON object"),
        ("options", b"[" * 100_000, "no JSON object"),
        ("options", b'{"crf": 18}', "'crf' is not one of the page's options"),
        ("key-frames", b'{"count": true}', "no recording"),
        ("path/input", b'{"path": "clip.mp4"}', "clip.mp4 is not absolute"),
        ("path/other", b'{"path": "/tmp"}', "input or reference"),
        ("files/input", b"", "no file was uploaded"),
        ("start", b"", "no recording"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_one_line(
    empty_job: tuple[Page, str], path: str, body: bytes, message: str
) -> None:
    page, job = empty_job
    status, answer = page.request("POST", f"/api/jobs/{job}/{path}", body)
    assert status == 400
    assert message in json.loads(answer)["error"]


def test_several_videos_are_several_jobs(empty_job: tuple[Page, str]) -> None:
    page, job = empty_job
    for name in ("a.mp4", "b.mp4"):
        page.call("PUT", f"/api/jobs/{job}/files/input?name={name}", b"video")
    status, answer = page.request("POST", f"/api/jobs/{job}/files/input", b"")
    assert (status, "a job for each recording" in answer.decode()) == (400, True)


@pytest.fixture
def empty_job(tmp_path: Path) -> Iterator[tuple[Page, str]]:
    """Return a page with a job that has no recordings."""
    with serve_page(tmp_path / "page") as page:
        yield page, page.call("POST", "/api/jobs")["id"]


def test_secrets_of_a_url_are_not_shown(empty_job: tuple[Page, str]) -> None:
    page, job = empty_job
    url = {"path": "https://user:secret@127.0.0.1/clip.mp4?signature=hidden"}
    page.call("POST", f"/api/jobs/{job}/path/input", url)
    described = page.call("GET", "/api/state")["jobs"][0]
    assert described["title"] == described["input_name"] == "https://127.0.0.1/clip.mp4"


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with serve_page(tmp_path / "page") as page:
        port = page.address.rstrip("/").rpartition(":")[2]
        refused = invoke("ui", "--no-open", "--port", port, "--folder", tmp_path / "other")
        assert refused.exit_code == 2
        assert "try another --port" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
