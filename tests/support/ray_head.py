"""A real Ray head with its own token, home and ports, which accepts `pipeline submit`."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
MOST_NODES = 2  # of an autoscaling cluster, with one CPU each


@dataclass(frozen=True)
class Head:
    """A running head node."""

    url: str
    env: dict[str, str]
    folder: Path


def find_free_port() -> int:
    """Return an unused port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextmanager
def start_head(*, growing: bool = False) -> Iterator[Head]:
    """Start a head with three CPUs or, if `growing`, one with none and an autoscaler."""
    port = find_free_port()
    gcs_port = find_free_port()
    # The folder holds sockets, whose paths can have at most 107 characters
    with tempfile.TemporaryDirectory(prefix="rj-", ignore_cleanup_errors=True) as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "HOME": folder,
            "TMPDIR": folder,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": "",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

        command = f"start --head --block --port {gcs_port} --node-ip-address 127.0.0.1"
        command += f" --dashboard-port {port} --num-cpus {0 if growing else 3}"
        command += f" --temp-dir {folder} --object-store-memory 100000000"
        # If another cluster already used the default port, no job would ever start
        command += " --dashboard-agent-listen-port 0"
        command += " --disable-usage-stats"
        if growing:
            env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            env |= {"PIPELINE_PLACEMENT_TIMEOUT": "150"}  # a busy machine starts nodes slowly
            command += f" --autoscaling-config {_write_autoscaler(Path(folder), gcs_port)}"

        with (Path(folder) / "head.log").open("w") as log:
            process = subprocess.Popen(
                [*RAY, *command.split()],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _wait_for_port(port, process)
            yield Head(f"http://127.0.0.1:{port}", env, Path(folder))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
            _kill_all(folder)


def _write_autoscaler(folder: Path, gcs_port: int) -> Path:
    """Write the configuration of Ray's own autoscaler, whose nodes are local processes."""
    lists = ("initialization_commands", "setup_commands", "cluster_synced_files", "rsync_exclude")
    lists += ("head_setup_commands", "worker_setup_commands", "rsync_filter")
    lists += ("head_start_ray_commands", "worker_start_ray_commands")
    config = dict.fromkeys(lists, ()) | {
        "cluster_name": "growing",
        "max_workers": MOST_NODES,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs_port}",
            "disable_node_updaters": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cpu": {
                "resources": {"CPU": 1, "object_store_memory": 10**8},
                "node_config": {},
                "min_workers": 0,
                "max_workers": MOST_NODES,
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    }
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(config))
    return path


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _kill_all(folder: str) -> None:
    """Kill the cluster's processes, which have its folder in their command line or environment."""
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if folder.encode() in text:
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def submit(head: Head, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `pipeline submit ARGUMENTS` against the head."""
    command = [sys.executable, "-m", "pipeline", "submit", "--address", head.url]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=head.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
