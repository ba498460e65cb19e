"""Jobs on a real cluster of one node, which has a token and a home folder of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.cli.submit import check_arguments
from pipeline.errors import InputError, PipelineError
from pipeline.ledger.run_folder import run_folder_of
from pipeline.tools import submit as jobs
from pipeline.tools.submit import runtime_env, submit_job, wait_for_job
from tests.support.ray_head import RAY, ROOT, Head, start_head, submit
from tests.support.recordings import write_pair

CHOSEN = ["--engine", "bicubic", "--segment", "0.4", "--preset", "ultrafast"]
CHOSEN += ["--batch", "4", "--workers", "1"]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with start_head() as started:
        yield started


@pytest.mark.ray
def test_a_job_runs_a_clip_and_its_exit_status_comes_back(
    head: Head, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    where = (pair[0], "--ref-stream", pair[1], "-o", tmp_path / "out.mkv")
    done = submit(head, *where, *CHOSEN, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["output"], answer["frames"]) == (str(tmp_path / "out.mkv"), 40)
    assert "runner ray: the address of a Ray cluster is set" in done.stderr
    refused = submit(head, *where, *CHOSEN, "--crf", "30")
    assert refused.returncode == 2
    assert "already exists; try another -o" in refused.stderr.splitlines()[-1]


@pytest.mark.ray
def test_plain_ray_job_submit_does_the_same(
    head: Head, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    run = ["python", "-m", "pipeline", "run", pair[0], "--ref-stream", pair[1]]
    run += ["-o", tmp_path / "out.mkv", *CHOSEN]
    command = [*RAY, "job", "submit"]
    command += ["--address", head.url, "--working-dir", ".", "--", *map(str, run)]
    done = subprocess.run(
        command, env=head.env, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out.mkv").exists()


@pytest.mark.ray
def test_the_lines_of_the_documentation(
    head: Head, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Run docs/clusters.md with this cluster, these recordings and an existing job."""
    (block,) = re.findall(
        r"```sh\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL
    )
    output = tmp_path / "out.mkv"
    job = "raysubmit_..."
    places = {"s3://bucket/a.mp4": pair[0], "a.mp4": pair[0], "out.mkv": output}
    places |= {"s3://bucket/hr.mp4": pair[1], "hr.mp4": pair[1], "s3://bucket/a_x4.mp4": output}
    ran = []
    for line in block.splitlines():
        words = [str(places.get(word, word)) for word in shlex.split(line, comments=True)]
        words = [w.replace("http://HEAD:8265", head.url) for w in words]
        words = [w.replace("raysubmit_...", job) for w in words]
        if words[0] == "export":
            assert all(word.partition("=")[0] in head.env for word in words[1:])
            continue
        if "--ref-stream" in words:
            words += CHOSEN if "-o" in words else [*CHOSEN, "-o", str(tmp_path / "again.mkv")]
        program = RAY if words[0] == "ray" else [sys.executable, "-m", "pipeline"]
        done = subprocess.run(
            [*program, *words[1:]],
            env=head.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if found := re.search(r"raysubmit_\w+", done.stdout + done.stderr):
            job = found[0]
        ran.append(words[1])
    assert ran == ["submit", "submit", "job", "status"]
    assert output.exists()
    assert (tmp_path / "again.mkv").exists()


@pytest.mark.ray
def test_a_stopped_job_is_resumed(head: Head, pair: tuple[Path, Path], tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.mkdir()
    lr, hr = write_pair(long, frames=200, height=384, width=512)
    output = tmp_path / "out.mkv"
    where = (lr, "--ref-stream", hr, "-o", output, *CHOSEN, "--preset", "veryslow")
    job = submit(head, "--no-wait", *where).stdout.strip()
    assert re.fullmatch(r"raysubmit_\w+", job)
    deadline = time.monotonic() + 60
    while not list(run_folder_of(output).glob("segments/[0-9]*.json")):
        assert time.monotonic() < deadline, submit(head, "--status", job).stdout
        time.sleep(0.05)
    # without another command in between, which the job would outrun
    assert submit(head, "--stop", job).stdout.startswith(f"{job} STOPPED")
    assert not output.exists()
    assert list(run_folder_of(output).glob("segments/attempt-*")) == []
    assert f"{job} STOPPED" in submit(head, "--status", job).stdout
    followed = submit(head, "--follow", job)
    assert followed.returncode == 130
    # written by the job before Ray kills it, 3 s after SIGTERM
    assert "kept; run the same command again to resume" in followed.stderr
    done = submit(head, *where, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed_segments"] >= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["long", "out.mkv", "out.plan.json"]


@pytest.mark.ray
def test_mistakes_are_one_line(head: Head) -> None:
    unknown = submit(head, "--status", "raysubmit_none")
    assert unknown.returncode == 2
    assert "there is no job raysubmit_none" in unknown.stderr
    locked = replace(head, env=head.env | {"RAY_AUTH_TOKEN": "0" * 64})
    refused = submit(locked, "--status", "raysubmit_none")
    assert refused.returncode == 2
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "0" * 64 not in refused.stderr


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    nowhere = Head("http://127.0.0.1:9", os.environ | {"HOME": str(tmp_path)}, tmp_path)
    done = submit(nowhere, "clip.mp4", "--ref-stream", "ref.mp4")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot reach a Ray dashboard at http://127.0.0.1:9")
    assert len(done.stderr.splitlines()) == 1


class Gone:
    """A client whose head node has died."""

    def get_job_info(self, _: str) -> None:
        raise requests.ConnectionError("Connection aborted.\nmore")


def test_a_lost_cluster_is_one_line() -> None:
    message = r"^lost the connection to the cluster: Connection aborted\.; .* to resume"
    with pytest.raises(PipelineError, match=message):
        wait_for_job(Gone(), "raysubmit_1")  # type: ignore[arg-type]


def test_wrong_arguments_are_refused_before_submission() -> None:
    import click

    with pytest.raises(click.UsageError, match="No such option"):
        check_arguments(("a.mp4", "--nonsense"))
    with pytest.raises(InputError, match="'9' is not a valid value for --scale"):
        check_arguments(("a.mp4", "--scale", "9"))
    with pytest.raises(InputError, match="no INPUT was passed"):
        check_arguments(("--scale", "2"))
    with pytest.raises(InputError, match="'later' is not a valid value for --start"):
        check_arguments(("a.mp4", "--start", "later"))
    with pytest.raises(InputError, match="leave --report out"):
        check_arguments(("s3://bucket/a.mp4", "--report", "a.html"))
    with pytest.raises(click.UsageError, match="--report is for one input"):
        check_arguments(("a.mp4", "b.mp4", "--report", "a.html"))
    with pytest.raises(click.UsageError, match="-o - cannot be combined with --json"):
        check_arguments(("a.mp4", "-o", "-", "--json"))
    with pytest.raises(InputError, match="--stream cannot be submitted"):
        check_arguments(("a.mp4", "-o", "-", "--stream", "y4m"))
    check_arguments(tuple(shlex.split("a.mp4 --ref-stream b.mp4 --json")))
    check_arguments(("--manifest", "s3://bucket/list.csv", "--start", "1:00"))


def test_wrong_arguments_are_refused_before_the_cluster_is_called(tmp_path: Path) -> None:
    nowhere = Head("http://127.0.0.1:9", os.environ | {"HOME": str(tmp_path)}, tmp_path)
    done = submit(nowhere, "clip.mp4", "--ref-stream", "ref.mp4", "--end", "later")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'later' is not a valid value for --end")


def list_uploaded(root: Path, environment: dict[str, Any], folder: Path) -> set[str]:
    """Return the names of the files that Ray would pack and upload."""
    from ray._private.runtime_env.packaging import create_package

    names: set[str] = set()
    for module in environment.get("py_modules", [root]):
        target = folder / f"{Path(module).name}.zip"
        top = "py_modules" in environment
        excludes = environment.get("excludes")
        create_package(str(module), target, True, include_parent_dir=top, excludes=excludes)
        with zipfile.ZipFile(target) as packed:
            names |= {name for name in packed.namelist() if not name.endswith("/")}
    return names


JUNK = ("clip.mp4", "a.engine", "other.safetensors", "torch-2.whl", "model.onnx", "x.state/y.py")


def test_only_code_is_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("crossnetpp", "deploy", "pipeline")
    for package in packages:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    before = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for name in JUNK:
        for place in (".", "pipeline", "deploy/engines"):
            (tmp_path / place / name).parent.mkdir(exist_ok=True)
            (tmp_path / place / name).write_bytes(b"large")
    monkeypatch.setattr(jobs, "__file__", str(tmp_path / "pipeline" / "tools" / "submit.py"))
    sent = list_uploaded(tmp_path, runtime_env(), tmp_path)
    stay = {name for name in before if name.startswith("pipeline/samples/")}
    stay |= {"crossnetpp/weights/SOURCES.md"}
    stay |= {name for name in before if re.fullmatch(r"crossnetpp/weights/.*\.log", name)}
    stay |= {name for name in before if name.startswith("pipeline/ui/page/")}
    assert sent == before - stay
    assert "deploy/selftest.png" in sent  # the self-test of every engine needs it


def test_only_code_is_uploaded_from_a_checkout_as_working_dir(tmp_path: Path) -> None:
    """`ray job submit --working-dir .` uploads all files that .rayignore does not list."""
    checkout = tmp_path / "checkout"
    own = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".git", "build", "runs")
    shutil.copytree(ROOT, checkout, ignore=own)
    for name in JUNK:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_bytes(b"large")
    sent = list_uploaded(checkout, {}, tmp_path)
    assert {"pipeline/cli/main.py", "deploy/selftest.png"} <= sent
    assert "crossnetpp/weights/fast.safetensors" in sent
    assert not sent & set(JUNK)
    assert not [name for name in sent if name.startswith(("tests/", "jobs/results/", ".git/"))]
    assert not [name for name in sent if name.endswith((".mp4", ".webm", ".jpg"))]


class Starting:
    """A client of a head node whose agent is not ready for the first calls."""

    def __init__(self, refusals: int, reason: str) -> None:
        self.calls = 0
        self.job: dict[str, object] = {}
        self._refusals = refusals
        self._reason = reason

    def submit_job(self, **job: object) -> str:
        self.calls += 1
        self.job = job
        if self.calls <= self._refusals:
            raise RuntimeError(f"Request failed with status code 500: {self._reason}.")
        return "raysubmit_1"


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"])
def test_a_token_is_not_part_of_the_job(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hush")
    client = Starting(0, "")
    submit_job(client, ("a.mp4",))  # type: ignore[arg-type]
    assert set(client.job) == {"entrypoint", "runtime_env"}
    assert set(client.job["runtime_env"]) == {"py_modules", "excludes"}  # type: ignore[call-overload]
    assert "hush" not in json.dumps(client.job)


def test_a_job_waits_for_the_agent_of_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)
    client = Starting(3, "No available agent to submit job, please try again later")
    assert submit_job(client, ("a.mp4",)) == "raysubmit_1"  # type: ignore[arg-type]
    monkeypatch.setattr(jobs, "AGENT_TIMEOUT_SECONDS", 0.0)
    client = Starting(3, "No available agent to submit job, please try again later")
    with pytest.raises(PipelineError, match=r"rejected the job .*No available agent"):
        submit_job(client, ("a.mp4",))  # type: ignore[arg-type]
    assert client.calls == 1
    other = Starting(3, "the package is too large")
    with pytest.raises(PipelineError, match="too large"):
        submit_job(other, ("a.mp4",))  # type: ignore[arg-type]
