"""Kill processes at random, reproducible moments, and check that the output stays the same.

    python -m jobs.stress.chaos --runs 30 [--seed 1]

A local cluster of three raylets enhances one clip again and again. In each run, SIGKILL hits an
actor while it decodes or infers, or just before or after it commits; a raylet while one of its
actors infers; or the driver while it plans, waits for segments or publishes, after which the driver
is started again. The output must be bit-identical to that of the undisturbed run, and contain every
input frame exactly once. A run must leave behind no processes, and no files next to the output and
its plan, in the cache or in TMPDIR.
"""

from __future__ import annotations

import argparse
import contextlib
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

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
EVENTS = ("decode", "infer", "before commit", "after commit", "raylet", "driver")
PHASES = ("planning", "segments", "publishing")  # of a run, from the driver's point of view
OBJECT_STORE_BYTES = 80 * 2**20  # on each node
MARK = "PIPELINE_CHAOS_MARK"  # environment variable that marks the cluster's processes
# Ray's own processes, which live as long as the cluster
SERVICES = re.compile(
    r"/raylet/raylet|gcs_server|ray::IDLE|ray::\w+Agent|default_worker\.py|dashboard|log_monitor|"
    r"runtime_env|monitor\.py|setup_worker\.py|resource_tracker"
)


@dataclass(frozen=True)
class Outcome:
    """The result of one run."""

    event: str
    seed: int
    struck: bool
    """Whether the driver was killed, or an actor was killed and the driver reported it."""
    moment: str
    """The moment of the kill, in words; the seed determines it."""
    was_complete: bool
    """Whether the first driver had already published the output, so the second refused to run."""
    exit_status: int
    same_bits: bool
    lost: int
    """Number of input frames missing from the output."""
    doubled: int
    """Number of output frames that are repeated or not in the input."""
    left: tuple[str, ...]
    """Files and processes left behind."""
    seconds: float
    error_line: str = ""
    """The last line on stderr if the run failed."""

    @property
    def good(self) -> bool:
        """Whether the output is right, nothing is left behind, and the run ended as it should.

        The output must be bit-identical, with no frames lost or repeated. The run must have
        succeeded, or been refused because the output was already complete.
        """
        failed = self.exit_status and not self.was_complete
        return self.same_bits and not (failed or self.lost or self.doubled or self.left)


@contextlib.contextmanager
def start_cluster(folder: Path) -> Iterator[Any]:
    """Run a cluster during the context: a head without CPUs, and two nodes with two CPUs each."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ[MARK] = secrets.token_hex(16)
    for name, place in (("TMPDIR", "tmp"), ("PIPELINE_CACHE", "cache")):
        (folder.parent / place).mkdir()
        os.environ[name] = str(folder.parent / place)
    (folder.parent / "tmp" / "ray").mkdir()  # where Ray writes the cluster's address

    head = {
        "num_cpus": 0,
        "temp_dir": str(folder),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE_BYTES)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


class Chaos:
    """A cluster and a clip, with the digest of the output that every run must reproduce."""

    def __init__(self, cluster: Any, folder: Path, lr: Path, hr: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.arguments = ["run", str(lr), "--ref-stream", str(hr), "--engine", "bicubic"]
        self.arguments += ["--segment", "0.4", "--preset", "ultrafast", "--batch", "2", "--json"]
        self.expected = digest_file(self.run_undisturbed())
        self.seconds = count_frame_times(lr)
        self.before = self.list_files()

    def run_undisturbed(self) -> Path:
        """Enhance the clip undisturbed in one process, and return the path of the output."""
        output = self.folder / "expected.mkv"
        command = [sys.executable, "-m", "pipeline", *self.arguments, "-o", str(output)]
        subprocess.run([*command, "--runner", "inline", "-q"], check=True, capture_output=True)
        return output

    def run(self, event: str, seed: int) -> Outcome:
        """Enhance the clip, cause `event` at a moment chosen by `seed`, and return the outcome."""
        chance = random.Random(seed)
        run_folder = self.folder / f"run{seed}"
        run_folder.mkdir()
        output = run_folder / "out.mkv"
        marker = self.folder / f"struck{seed}"

        start = time.monotonic()
        moment = ""
        order: tuple[str, ...] = ()
        program = "pipeline"
        if event != "driver":
            order, moment = self.order_death(event, chance, marker)
            program = "jobs.stress.deadly_actor"
        process = self.start_driver(output, program, *order)
        if event == "raylet":
            self.kill_raylet(process, marker)
        elif event == "driver":
            moment = self.kill_driver(process, chance, output, marker)
            if marker.exists():
                process = self.start_driver(output, "pipeline")
        _, stderr = process.communicate(timeout=240)

        found = count_frame_times(output) if output.exists() else Counter()
        return Outcome(
            event=event,
            seed=seed,
            struck=marker.exists() and (event == "driver" or "an actor died" in stderr),
            moment=moment,
            was_complete=event == "driver" and "already exists; try another -o" in stderr,
            exit_status=process.returncode,
            same_bits=output.exists() and digest_file(output) == self.expected,
            lost=(self.seconds - found).total(),
            doubled=(found - self.seconds).total(),
            left=self.find_leftovers(run_folder),
            seconds=round(time.monotonic() - start, 1),
            error_line=(stderr.splitlines() or [""])[-1] if process.returncode else "",
        )

    @staticmethod
    def order_death(event: str, chance: random.Random, marker: Path) -> tuple[tuple[str, ...], str]:
        """Return arguments for `jobs.stress.deadly_actor`, and the moment of the kill in words."""
        most = 2 if "commit" in event else 12
        call = chance.randint(1, most)
        return (event, str(call), str(marker)), f"call {call} of an actor"

    def start_driver(self, output: Path, program: str, *order: str) -> subprocess.Popen[str]:
        """Start the module `program` on the cluster.

        Its arguments are `order`, followed by those of `pipeline run`.
        """
        command = [sys.executable, "-m", program, *order, *self.arguments, "-o", str(output)]
        command += ["--address", self.cluster.address, "--workers", "2"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)

    def kill_raylet(self, process: subprocess.Popen[str], marker: Path) -> None:
        """Kill the node whose actor has stopped and written `marker`, and start a new node."""

        def has_stopped() -> bool:
            return marker.exists() and bool(marker.read_text(encoding="ascii"))

        wait_until(process, has_stopped)
        if not has_stopped():
            return  # no actor made that many calls

        raylet = int(marker.read_text(encoding="ascii"))
        nodes = self.cluster.worker_nodes
        victim = next(n for n in nodes if n.all_processes["raylet"][0].process.pid == raylet)
        self.cluster.remove_node(victim, allow_graceful=False)
        self.cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE_BYTES)

    @staticmethod
    def kill_driver(
        process: subprocess.Popen[str], chance: random.Random, output: Path, marker: Path
    ) -> str:
        """Kill the driver in a random phase of its run, and return the moment in words."""
        from pipeline.ledger.run_folder import run_folder_of

        run_folder = run_folder_of(output)
        phase = chance.choice(PHASES)
        delay = chance.uniform(0, 0.3)
        match phase:
            case "planning":
                delay = chance.uniform(0.3, 4)
                moment = f"{delay:.2f} s after its start"
            case "segments":
                count = chance.randint(1, 10)
                records = "segments/[0-9]*.json"
                wait_until(process, lambda: len(list(run_folder.glob(records))) >= count)
                moment = f"{delay:.2f} s after {count} segments were committed"
            case _:
                joined = "assembled*"
                wait_until(process, lambda: any(run_folder.glob(joined)) or output.exists())
                moment = f"{delay:.2f} s after it began to join"

        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
            return f"{moment}: too late"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        marker.touch()
        return moment

    def find_leftovers(self, run_folder: Path) -> tuple[str, ...]:
        """Wait up to 30 seconds for files and processes to disappear, and return what remains."""
        deadline = time.monotonic() + 30
        while True:
            files = {path.name for path in run_folder.iterdir()} - {"out.mkv", "out.plan.json"}
            left = [f"file {name}" for name in sorted(files | (self.list_files() - self.before))]
            left += [f"process {line}" for line in list_processes()]
            if not left or time.monotonic() > deadline:
                return tuple(left)
            time.sleep(0.2)

    def list_files(self) -> set[str]:
        """Return the paths of all files and folders in the cache and in TMPDIR."""
        places = (self.folder / "tmp", self.folder / "cache")
        return {str(p.relative_to(self.folder)) for place in places for p in place.rglob("*")}


def wait_until(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until `condition` returns True or the process ends."""
    while process.poll() is None and not condition():
        time.sleep(0.01)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    from pipeline.paths import sha256

    return sha256(path)


def count_frame_times(path: Path) -> Counter[float]:
    """Return how often each frame time (in seconds, to two decimals) occurs in a video."""
    from pipeline.media.read.probe import probe, scan

    clip = probe(str(path))
    return Counter(round(float(pts * clip.time_base), 2) for pts in scan(clip).pts)


def list_processes() -> list[str]:
    """Return the running processes of the cluster and its drivers, except Ray's own services."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and _is_ours(entry):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and not SERVICES.search(line):
                    found.append(f"{entry.name} {line[:120]}")
    return found


def _is_ours(entry: Path) -> bool:
    return f"{MARK}={os.environ[MARK]}".encode() in (entry / "environ").read_bytes()


def write_pair(folder: Path) -> tuple[Path, Path]:
    """Write a small LR clip and its HR reference, and return both paths."""
    lr, hr = folder / "lr.mkv", folder / "hr.mkv"
    degrade = [sys.executable, "-m", "pipeline", "degrade", str(CLIP)]
    for scale, out in (("8", lr), ("4", hr)):
        command = [*degrade, "--scale", scale, "-o", str(out)]
        subprocess.run(command, check=True, capture_output=True)
    return lr, hr


def main() -> None:
    """Run the test and write jobs/results/chaos.json; exit with status 1 if any run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30, help="number of runs (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run (default 1)")
    options = parser.parse_args()

    outcomes = []
    with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with start_cluster(folder / "ray") as cluster:
            chaos = Chaos(cluster, folder, *write_pair(folder))
            for i in range(options.runs):
                outcome = chaos.run(EVENTS[i % len(EVENTS)], options.seed + i)
                outcomes.append(outcome)
                record_outcomes(outcomes)
                print(outcome, flush=True)  # noqa: T201
    sys.exit(not all(outcome.good for outcome in outcomes))


def record_outcomes(outcomes: list[Outcome]) -> None:
    """Write the outcomes so far, so that an interrupted job still leaves results."""
    from jobs.machine import write_result

    good = sum(outcome.good for outcome in outcomes)
    struck = sum(outcome.struck for outcome in outcomes)
    summary = {"runs": len(outcomes), "good": good, "struck": struck}
    write_result("chaos", summary | {"outcomes": [asdict(outcome) for outcome in outcomes]})


if __name__ == "__main__":
    main()
