"""A cluster of this machine: what it listens on, and the line when a part of it is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.execution.cluster.death_notice import LINE
from tests.support import ROOT
from tests.support.recordings import write_pair

LISTEN = """
import json, psutil, sys
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts

with Interrupts() as interrupts, cluster(None, interrupts):
    import ray

    @ray.remote
    def work():
        return 1

    ray.get(work.remote())
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    session = ray.get_runtime_context().get_session_name()
    # The block passes what is printed to the log
    print(json.dumps([session, *sockets]), file=sys.__stdout__, flush=True)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program that connects to Ray, without an address in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=ROOT,
        env=environment,
    )


@pytest.mark.ray
def test_a_cluster_of_this_machine_listens_on_the_loopback_device_alone() -> None:
    stdout, stderr = start(LISTEN).communicate(timeout=120)
    session, *sockets = json.loads(stdout)
    assert not Path("/tmp/ray", session).exists()  # nor does it leave its logs
    assert len(sockets) >= 4, stderr
    assert set(sockets) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


ADDRESSES = ("127.0.0.1:9", "ray://127.0.0.1:9", "nowhere.invalid:6379", "127.0.0.1:99999")
CONNECT = """
import sys
from pipeline.errors import InputError
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts

for address in sys.argv[1:]:
    try:
        with cluster(address, Interrupts()):
            pass
    except InputError as error:
        print(error)
"""


def test_addresses_at_which_no_cluster_answers_are_refused_within_seconds() -> None:
    """Ray itself would wait for minutes at each of them."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        addresses = [*ADDRESSES, f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"]
        stdout, stderr = start(CONNECT, *addresses).communicate(timeout=120)
    lines = stdout.splitlines()
    assert len(lines) == len(addresses), stderr
    for line, address in zip(lines, addresses, strict=True):
        assert line.startswith(f"found no Ray cluster at {address} (")


@pytest.mark.ray
def test_a_lost_raylet_ends_a_run_with_one_line_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    lr, hr = write_pair(tmp_path, frames=24)
    marker = tmp_path / "marker"
    words = ["run", str(lr), "--ref-stream", str(hr), "--engine", "bicubic", "--segment", "0.2"]
    words += ["--runner", "ray", "--workers", "1", "-o", str(tmp_path / "out.mkv"), "-q"]
    deadly = [sys.executable, "-m", "jobs.stress.deadly_actor", "raylet", "2", str(marker)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}

    process = subprocess.Popen(
        [*deadly, *words], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    deadline = time.monotonic() + 120
    while not (marker.exists() and marker.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    psutil.Process(int(marker.read_text())).kill()
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in stderr

    again = [sys.executable, "-m", "pipeline", *words]
    subprocess.run(again, check=True, cwd=ROOT, env=environment, timeout=240)
    assert (tmp_path / "out.mkv").is_file()


@pytest.mark.soak
@pytest.mark.ray
def test_a_gcs_that_dies_while_ray_starts_is_one_line_and_the_same_command_runs(
    tmp_path: Path,
) -> None:
    """Ray tries for half a minute to reach it again."""
    lr, hr = write_pair(tmp_path, frames=4)
    command = [sys.executable, "-m", "pipeline", "run", str(lr), "--ref-stream", str(hr)]
    command += ["--engine", "bicubic", "--runner", "ray", "-o", str(tmp_path / "out.mkv"), "-q"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    killed = False
    while not killed and process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name().startswith("gcs_server"):
                child.kill()
                killed = True
        time.sleep(0.01)
    _, stderr = process.communicate(timeout=240)
    assert killed
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in stderr
    assert not (tmp_path / "out.mkv").exists()

    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=240)
    assert (tmp_path / "out.mkv").is_file()


ANNOUNCE = """
import sys
from pipeline.execution.cluster.death_notice import announce_sudden_death

with announce_sudden_death():
    print("ready", flush=True)
    input()
    if len(sys.argv) > 1:
        raise ValueError("wrong")
"""


def test_a_killed_process_is_announced_and_an_ended_one_is_not() -> None:
    killed = start(ANNOUNCE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "ready\n"
    killed.kill()
    assert killed.communicate(timeout=60)[1] == f"{LINE}\n"

    ended = start(ANNOUNCE)
    assert ended.communicate("\n", timeout=60)[1] == ""

    raised = start(ANNOUNCE.replace("len(sys.argv) > 1", "True"))
    assert LINE not in raised.communicate("\n", timeout=60)[1]


def test_an_interrupt_of_the_whole_group_leaves_the_watcher_to_its_work() -> None:
    process = start(ANNOUNCE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (watcher,) = psutil.Process(process.pid).children()
    assert os.getpgid(watcher.pid) != os.getpgid(process.pid)
    process.send_signal(signal.SIGINT)
    assert LINE not in process.communicate(timeout=60)[1]
    deadline = time.monotonic() + 30
    while watcher.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not watcher.is_running()
