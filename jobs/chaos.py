"""Kill things at seeded moments and hold the result against an undisturbed run's bits.

    python -m jobs.chaos --runs 30 [--seed 1]

A local cluster of three raylets does one clip again and again. In every run something is killed
with SIGKILL: an actor while it decodes, infers, is about to commit or has just committed; a whole
raylet; the driver, which is started again. The output must have the same bits as the undisturbed
one, no segment may be lost or counted twice, and no process or file may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
EVENTS = ("decode", "infer", "before commit", "after commit", "raylet", "driver")
SABOTAGE = "PIPELINE_CHAOS"
"""Set for actors: JSON of stage, which call of it kills, and the file that says it is done."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    event: str
    seed: int
    struck: bool
    """Whether something was really killed before the run ended."""
    same_bits: bool
    segments: int
    doubled: int
    """Records that name one segment twice; must be 0."""
    left: tuple[str, ...]
    """Files and processes that should not be there."""
    seconds: float

    @property
    def good(self) -> bool:
        """Return whether all promises were kept."""
        return self.same_bits and not self.doubled and not self.left


def sabotage() -> None:
    """Arm this process, if it is an actor and the environment says so; called from sitecustomize.

    The n-th call of a stage kills the process, once for all processes together.
    """
    order = json.loads(os.environ[SABOTAGE])
    marker = Path(order["marker"])
    from pipeline import ledger, stages, worker

    left = order["call"]

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            with contextlib.suppress(FileExistsError):
                marker.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def struck(*arguments: Any, **options: Any) -> Any:
            strike()
            return inner(*arguments, **options)

        setattr(owner, name, struck)

    def after(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def struck(*arguments: Any, **options: Any) -> Any:
            result = inner(*arguments, **options)
            strike()
            return result

        setattr(owner, name, struck)

    match order["stage"]:
        case "decode":
            before(stages, "_batch")
        case "infer":
            before(worker, "enhance")
        case "before commit":
            before(ledger.RunFolder, "commit")
        case "after commit":
            after(ledger.RunFolder, "commit")


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[Any]:
    """Start a head without CPUs and two nodes; all end with the block."""
    import ray
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "temp_dir": str(folder), **small}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


class Chaos:
    """A cluster, a clip, and what it gives when nothing happens."""

    def __init__(self, cluster: Any, folder: Path, lr: Path, hr: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.arguments = ["run", str(lr), "--ref-stream", str(hr), "--engine", "bicubic"]
        self.arguments += ["--segment", "0.4", "--preset", "ultrafast", "--batch", "2", "--json"]
        self.expected = self.bits(self.undisturbed())

    def undisturbed(self) -> Path:
        """Run in one process; the bits are those of any other way."""
        output = self.folder / "expected.mkv"
        command = [sys.executable, "-m", "pipeline", *self.arguments, "-o", str(output)]
        subprocess.run([*command, "--runner", "inline", "-q"], check=True, capture_output=True)
        return output

    @staticmethod
    def bits(path: Path) -> str:
        """Return the sha256 of a file."""
        from pipeline.ledger import sha256

        return sha256(path)

    def run(self, event: str, seed: int) -> Outcome:
        """Do one run with `event` at a moment chosen by `seed`."""
        chance = random.Random(seed)
        place = self.folder / f"run{seed}"
        place.mkdir()
        output, marker = place / "out.mkv", self.folder / f"struck{seed}"
        start = time.monotonic()
        env = dict(os.environ)
        if event in EVENTS[:4]:
            most = {"decode": 12, "infer": 12, "before commit": 2, "after commit": 2}[event]
            order = {"stage": event, "call": chance.randint(1, most), "marker": str(marker)}
            armed = {
                "PYTHONPATH": f"{ROOT}:{ROOT / 'jobs' / 'chaos_site'}",
                SABOTAGE: json.dumps(order),
            }
            # as a submitted job does it: what the driver's actors find in their environment
            env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({"runtime_env": {"env_vars": armed}})
        process = self.driver(output, env)
        if event == "raylet":
            self.kill_raylet(process, chance, output, marker)
        elif event == "driver":
            while self.kill_driver(process, chance, marker):
                process = self.driver(output, env)
        stdout, stderr = process.communicate(timeout=180)
        if process.returncode:
            raise SystemExit(f"{event}, seed {seed}: exit status {process.returncode}\n{stderr}")
        try:
            answer = json.loads(stdout)
        except json.JSONDecodeError:
            raise SystemExit(f"{event}, seed {seed}: no JSON on stdout: {stdout!r}") from None
        return Outcome(
            event=event,
            seed=seed,
            struck=marker.exists(),
            same_bits=self.bits(output) == self.expected,
            segments=answer["segments"],
            doubled=answer["frames"] - self.frames(output),
            left=self.left(place),
            seconds=round(time.monotonic() - start, 1),
        )

    def driver(self, output: Path, env: dict[str, str]) -> subprocess.Popen[str]:
        """Start the command against the cluster."""
        command = [sys.executable, "-m", "pipeline", *self.arguments, "-o", str(output)]
        command += ["--address", self.cluster.address, "--workers", "2"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)

    def kill_raylet(
        self, process: subprocess.Popen[str], chance: random.Random, output: Path, marker: Path
    ) -> None:
        """Kill a node with all on it while segments are under way, and add another."""
        from pipeline.ledger import run_folder_of

        segments = run_folder_of(output) / "segments"
        while process.poll() is None and not list(segments.glob("attempt-*")):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.8))
        if process.poll() is None:
            marker.touch()
        victim = chance.choice(sorted(self.cluster.worker_nodes, key=str))
        self.cluster.remove_node(victim, allow_graceful=False)
        self.cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)

    def kill_driver(
        self, process: subprocess.Popen[str], chance: random.Random, marker: Path
    ) -> bool:
        """Kill the driver once, at any time of its life; returns whether to start another."""
        if marker.exists():
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(1.0, 7.0))
            return False
        process.send_signal(signal.SIGKILL)
        process.communicate()
        marker.touch()
        return True

    @staticmethod
    def frames(output: Path) -> int:
        """Return how many frames a video has."""
        from pipeline.media.probe import probe, scan

        return len(set(scan(probe(str(output))).pts))

    def left(self, place: Path) -> tuple[str, ...]:
        """Return the files in `place` and the processes that should not be there any more."""
        deadline = time.monotonic() + 15
        while True:
            files = {path.name for path in place.iterdir()} - {"out.mkv", "out.plan.json"}
            left = [f"file {name}" for name in sorted(files)]
            left += [f"process {line}" for line in actors()]
            if not left or time.monotonic() > deadline:
                return tuple(left)
            time.sleep(0.2)


def actors() -> list[str]:
    """Return the command lines of living segment actors of our own clusters."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line.startswith("ray::SegmentActor") and _ours(entry):
                    found.append(f"{entry.name} {line}")
    return found


def _ours(entry: Path) -> bool:
    token = os.environ["RAY_AUTH_TOKEN"].encode()
    return token in (entry / "environ").read_bytes()


def clip(folder: Path) -> tuple[Path, Path]:
    """Write a small LR clip beside its HR original."""
    lr, hr = folder / "lr.mkv", folder / "hr.mkv"
    degrade = [sys.executable, "-m", "pipeline", "degrade", str(CLIP)]
    for scale, out in (("8", lr), ("4", hr)):
        command = [*degrade, "--scale", scale, "-o", str(out)]
        subprocess.run(command, check=True, capture_output=True)
    return lr, hr


def main() -> None:
    """Run and write jobs/results/chaos.json; exit status 1 if any promise was broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with three_nodes(folder / "ray") as cluster:
            chaos = Chaos(cluster, folder, *clip(folder))
            for i in range(chosen.runs):
                outcome = chaos.run(EVENTS[i % len(EVENTS)], chosen.seed + i)
                outcomes.append(outcome)
                record(outcomes)
                print(outcome, flush=True)  # noqa: T201
    sys.exit(not all(outcome.good for outcome in outcomes))


def record(outcomes: list[Outcome]) -> None:
    """Write what is known so far: a run that is stopped has not been for nothing."""
    from jobs.machine import write_result

    good = sum(outcome.good for outcome in outcomes)
    struck = sum(outcome.struck for outcome in outcomes)
    summary = {"runs": len(outcomes), "good": good, "struck": struck}
    write_result("chaos", summary | {"outcomes": [asdict(outcome) for outcome in outcomes]})


if __name__ == "__main__":
    main()
