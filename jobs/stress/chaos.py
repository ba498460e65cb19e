"""Kill things at seeded moments and hold the result against an undisturbed run's bits.

    python -m jobs.stress.chaos --runs 30 [--seed 1]

A local cluster of three raylets does one clip again and again. In every run something is killed
with SIGKILL: an actor while it decodes, infers, is about to commit or has just committed; a whole
raylet; the driver while it plans, waits for segments or publishes, which is started again. The
output must have the same bits as the undisturbed one and every frame of the input once; no process
may be left, and no file beside the output, in the cache or among the temporary files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.ledger.run_folder import RunFolder

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
EVENTS = ("decode", "infer", "before commit", "after commit", "raylet", "driver")
MOMENTS = ("planning", "segments", "publishing")
"""Of the driver's life."""
SABOTAGE = "PIPELINE_CHAOS"
"""Set for actors: JSON of stage, which call of it kills, and the file that says it is done."""
MARK = "PIPELINE_CHAOS_MARK"
"""Set for the cluster and all that descends from it, with a value of our own."""
SERVICES = re.compile(
    r"/raylet/raylet|gcs_server|ray::IDLE|ray::\w+Agent|default_worker\.py|dashboard|log_monitor|"
    r"runtime_env|monitor\.py|setup_worker\.py|resource_tracker"
)
"""Processes of Ray itself, which live as long as the cluster."""


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    event: str
    seed: int
    struck: bool
    """Whether an actor was killed and the driver noted it, or the driver was killed."""
    moment: str
    """When it was killed, as the seed chose it."""
    was_complete: bool
    """Whether that was after the driver's last act: the second one refuses to do it again."""
    exit_status: int
    same_bits: bool
    lost: int
    """Frames of the input that the output lacks."""
    doubled: int
    """Frames that it has more than once, or that the input has not."""
    left: tuple[str, ...]
    """Files and processes that should not be there."""
    seconds: float
    said: str = ""
    """The last line of a run that failed."""

    @property
    def good(self) -> bool:
        """Return whether all promises were kept."""
        failed = self.exit_status and not self.was_complete
        return self.same_bits and not (failed or self.lost or self.doubled or self.left)


def sabotage() -> None:
    """Arm this process, if it is an actor and the environment says so; called from sitecustomize.

    The n-th call of a stage kills the process, once for all processes together.
    """
    order = json.loads(os.environ[SABOTAGE])
    marker = Path(order["marker"])
    from pipeline.execution import decode, worker

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
            before(decode, "_batch")
        case "infer":
            before(worker, "enhance_batch")
        case "before commit":
            before(RunFolder, "commit")
        case "after commit":
            after(RunFolder, "commit")


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[Any]:
    """Start a head without CPUs and two nodes; all end with the block."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ[MARK] = secrets.token_hex(16)
    for name, place in (("TMPDIR", "tmp"), ("PIPELINE_CACHE", "cache")):
        (folder.parent / place).mkdir()
        os.environ[name] = str(folder.parent / place)
    (folder.parent / "tmp" / "ray").mkdir()  # where Ray notes the cluster's address
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
        self.expected, self.seconds = bits(self.undisturbed()), seconds_of_frames(lr)
        self.before = self.files()

    def undisturbed(self) -> Path:
        """Run in one process; the bits are those of any other way."""
        output = self.folder / "expected.mkv"
        command = [sys.executable, "-m", "pipeline", *self.arguments, "-o", str(output)]
        subprocess.run([*command, "--runner", "inline", "-q"], check=True, capture_output=True)
        return output

    def run(self, event: str, seed: int) -> Outcome:
        """Do one run with `event` at a moment chosen by `seed`."""
        chance = random.Random(seed)
        place = self.folder / f"run{seed}"
        place.mkdir()
        output, marker = place / "out.mkv", self.folder / f"struck{seed}"
        start, moment = time.monotonic(), ""
        env = dict(os.environ)
        if event in EVENTS[:4]:
            moment = self.arm(env, event, chance, marker)
        process = self.driver(output, env)
        if event == "raylet":
            moment = self.kill_raylet(process, chance, output, marker)
        elif event == "driver":
            moment = self.kill_driver(process, chance, output, marker)
            if marker.exists():
                process = self.driver(output, env)
        _, stderr = process.communicate(timeout=240)
        found = seconds_of_frames(output) if output.exists() else Counter()
        return Outcome(
            event=event,
            seed=seed,
            struck=marker.exists() and (event == "driver" or "an actor died" in stderr),
            moment=moment,
            was_complete=event == "driver" and "already there; try another -o" in stderr,
            exit_status=process.returncode,
            same_bits=output.exists() and bits(output) == self.expected,
            lost=(self.seconds - found).total(),
            doubled=(found - self.seconds).total(),
            left=self.left(place),
            seconds=round(time.monotonic() - start, 1),
            said=(stderr.splitlines() or [""])[-1] if process.returncode else "",
        )

    @staticmethod
    def arm(env: dict[str, str], event: str, chance: random.Random, marker: Path) -> str:
        """Let the actors of a driver with this environment kill themselves; returns when."""
        most = {"decode": 12, "infer": 12, "before commit": 2, "after commit": 2}[event]
        call = chance.randint(1, most)
        armed = {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'jobs' / 'stress' / 'chaos_site'}",
            SABOTAGE: json.dumps({"stage": event, "call": call, "marker": str(marker)}),
        }
        # as a submitted job does it: what the driver's actors find in their environment
        env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({"runtime_env": {"env_vars": armed}})
        return f"call {call} of an actor"

    def driver(self, output: Path, env: dict[str, str]) -> subprocess.Popen[str]:
        """Start the command against the cluster."""
        command = [sys.executable, "-m", "pipeline", *self.arguments, "-o", str(output)]
        command += ["--address", self.cluster.address, "--workers", "2"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)

    def kill_raylet(
        self, process: subprocess.Popen[str], chance: random.Random, output: Path, marker: Path
    ) -> str:
        """Kill a node with all on it while segments are under way, and add another."""
        from pipeline.ledger.run_folder import run_folder_of

        segments, later = run_folder_of(output) / "segments", chance.uniform(0, 0.8)
        until(process, lambda: bool(list(segments.glob("attempt-*"))))
        time.sleep(later)
        if process.poll() is None:
            marker.touch()
        victim = chance.choice(self.nodes_at_work())
        self.cluster.remove_node(victim, allow_graceful=False)
        self.cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        return f"{later:.2f} s after the first segment was begun"

    def nodes_at_work(self) -> list[Any]:
        """Return the nodes with an actor; all, where none has any."""
        parents = {_parent(int(line.split()[0])) for line in processes() if "SegmentActor" in line}
        nodes = sorted(self.cluster.worker_nodes, key=str)
        busy = [n for n in nodes if n.all_processes["raylet"][0].process.pid in parents]
        return busy or nodes

    @staticmethod
    def kill_driver(
        process: subprocess.Popen[str], chance: random.Random, output: Path, marker: Path
    ) -> str:
        """Kill the driver in one of three parts of its life; returns when."""
        from pipeline.ledger.run_folder import run_folder_of

        run = run_folder_of(output)
        phase, later = chance.choice(MOMENTS), chance.uniform(0, 0.3)
        match phase:
            case "planning":
                later = chance.uniform(0.3, 4)
                moment = f"{later:.2f} s after its start"
            case "segments":
                count = chance.randint(1, 10)
                until(process, lambda: len(list(run.glob("segments/[0-9]*.json"))) >= count)
                moment = f"{later:.2f} s after {count} segments were committed"
            case _:
                until(process, lambda: bool(list(run.glob("assembled*"))) or output.exists())
                moment = f"{later:.2f} s after it began to join"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(later)
            return f"{moment}: too late"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        marker.touch()
        return moment

    def left(self, place: Path) -> tuple[str, ...]:
        """Return the files and the processes that should not be there any more."""
        deadline = time.monotonic() + 30
        while True:
            files = {path.name for path in place.iterdir()} - {"out.mkv", "out.plan.json"}
            left = [f"file {name}" for name in sorted(files | (self.files() - self.before))]
            left += [f"process {line}" for line in processes()]
            if not left or time.monotonic() > deadline:
                return tuple(left)
            time.sleep(0.2)

    def files(self) -> set[str]:
        """Return what lies in the cache and among the temporary files."""
        places = (self.folder / "tmp", self.folder / "cache")
        return {str(p.relative_to(self.folder)) for place in places for p in place.rglob("*")}


def until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    """Wait for something that a process does, or for its end."""
    while process.poll() is None and not there():
        time.sleep(0.01)


def bits(path: Path) -> str:
    """Return the sha256 of a file."""
    from pipeline.ledger.durable import sha256

    return sha256(path)


def seconds_of_frames(path: Path) -> Counter[float]:
    """Return the moments of a video's frames in seconds, and how often each is there."""
    from pipeline.media.read.probe import probe, scan

    clip = probe(str(path))
    return Counter(round(float(pts * clip.time_base), 2) for pts in scan(clip).pts)


def processes() -> list[str]:
    """Return the living descendants of the cluster and the drivers that are not Ray's services."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and _ours(entry):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and not SERVICES.search(line):
                    found.append(f"{entry.name} {line[:120]}")
    return found


def _parent(pid: int) -> int:
    try:
        # what follows the name, which may hold anything
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return 0


def _ours(entry: Path) -> bool:
    return f"{MARK}={os.environ[MARK]}".encode() in (entry / "environ").read_bytes()


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
