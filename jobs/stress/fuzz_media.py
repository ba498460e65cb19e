"""Read damaged recordings: `python -m jobs.stress.fuzz_media --seconds 60 --seed 1`.

A child process with limits on memory and time probes, scans and decodes every input. With --runs,
the inputs are the beginnings of recordings, undamaged ones first, and the child enhances them, with
each as its own reference. An input passes if it yields frames or a verified output, or if the
pipeline refuses it with one of its own errors and leaves no output. A crash, a hang, any other
exception or an output that differs from the input is a failure, and --keep saves the input. With
--trace, strace records the opened files; opening a file that is neither the input nor a library is
also a failure.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil

from deploy.child_process import child_environment
from jobs.machine import describe_machine
from jobs.media.cut import cut_beginnings

SAMPLES = Path(__file__).parents[2] / "tests" / "data"
CPU_SECONDS_PER_INPUT = 60.0  # limit in CPU time, so that a busy machine does not cause a "hang"
SECONDS_PER_INPUT = 600.0  # limit in elapsed time, for a child process that waits for something
MEMORY_BYTES = 4 << 30  # address space of the child process
FRAMES = 5  # maximum number of frames to decode per input
SCRATCH = "fuzz-"  # prefix of the temporary folders
INPUTS_PER_SEED = 1_000_000
_HOSTILE_NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x10000)
_BOXES = (b"stts", b"ctts", b"stsz", b"stco", b"elst", b"tkhd", b"mdhd", b"stsd", b"avcC")


def list_samples() -> list[Path]:
    """Return the paths of the small real recordings in the repository."""
    found = [p for p in sorted(SAMPLES.rglob("*")) if p.suffix in (".mp4", ".webm")]
    return [path for path in found if path.stat().st_size < 1 << 20]


def damage_sample(seed: int, originals: list[bytes]) -> bytes:
    """Return an input determined by `seed`: one of the originals, damaged in one to three ways."""
    random = np.random.default_rng(seed)
    data = bytearray(originals[random.integers(len(originals))])
    for _ in range(random.integers(1, 4)):
        kind = random.integers(5)
        if len(data) < 64:
            break

        if kind == 0:  # flip bytes, anywhere or in the headers
            reach = len(data) if random.random() < 0.5 else min(len(data), 4096)
            for position in random.integers(reach, size=random.integers(1, 64)):
                data[position] ^= int(random.integers(1, 256))

        elif kind == 1:  # cut the end off
            del data[int(random.integers(16, len(data))) :]

        elif kind == 2:  # overwrite a part with part of another recording
            other = originals[random.integers(len(originals))]
            length = int(random.integers(1, 1 << 14))
            start = int(random.integers(len(other)))
            at = int(random.integers(len(data)))
            data[at : at + length] = other[start : start + length]

        elif kind == 3:  # write hostile sizes and times into MP4 boxes
            at = data.find(_BOXES[random.integers(len(_BOXES))])
            if at > 0:
                at += int(random.integers(-4, 40))
                number = _HOSTILE_NUMBERS[random.integers(len(_HOSTILE_NUMBERS))]
                data[at : at + 4] = number.to_bytes(4, "big")

        else:  # remove a part
            at = int(random.integers(len(data)))
            del data[at : at + int(random.integers(1, 4096))]
    return bytes(data)


def read_file(path: str) -> str:
    """Read the first frames of a file as a run would, and describe the result.

    Exceptions other than PipelineError propagate, because they are bugs in the pipeline.
    """
    from pipeline.errors import PipelineError
    from pipeline.media.join.capabilities import container_notes
    from pipeline.media.read.detect_interlacing import choose_deinterlacing
    from pipeline.media.read.frames import read_frames
    from pipeline.media.read.probe import probe, scan
    from pipeline.media.write.encoder import choose_encoding

    try:
        clip = choose_deinterlacing(probe(path), "auto")
        index = scan(clip)
        container_notes(clip, Path("out.mkv"), choose_encoding(clip))

        expected = index.pts[:FRAMES]
        frames = read_frames(
            clip, expected[0], expected[-1] + 1, on_error="conceal", expected=expected
        )
        count = sum(1 for _ in islice(frames, FRAMES))
    except PipelineError as error:
        return f"refused {' '.join(str(error).split())}"
    return f"read {count} frames"


def enhance_file(path: str) -> str:
    """Enhance a file with itself as the reference, and describe the result.

    Exceptions other than PipelineError propagate, as they do from `read_file`.
    """
    from jobs.media.bicubic_run import run_bicubic
    from pipeline.errors import PipelineError
    from pipeline.media.join.verify import find_differences
    from pipeline.media.read.probe import probe, scan

    with tempfile.TemporaryDirectory(prefix=SCRATCH) as folder:
        out = Path(folder) / "out.mkv"
        try:
            run_bicubic(Path(path), Path(path), out, codec="libx264", preset="ultrafast")
        except PipelineError as error:
            if out.exists():
                return f"OUTPUT after {error}"
            return f"refused {' '.join(str(error).split())}"

        clip = probe(path)
        if found := find_differences(clip, scan(clip), out, 2 * clip.width, 2 * clip.height):
            return f"DIFFERS {found}"
    return "read and enhanced"


def serve_as_child(act: Callable[[str], str]) -> None:
    """Read paths from stdin as JSON lines, and write the results of `act` to stdout likewise."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        try:
            answer = act(json.loads(line))
        except Exception as error:  # the failures that this job looks for
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"ERROR {type(error).__name__} {error} at {where.filename}:{where.lineno}"
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Child:
    """A child process that reads files, and that is restarted after a crash or a hang."""

    def __init__(self, scratch: str, *, runs: bool = False, trace: Path | None = None) -> None:
        self._environment = {**child_environment(), "TMPDIR": scratch}
        self._process: subprocess.Popen[str] | None = None
        self._command = [
            sys.executable,
            "-m",
            "jobs.stress.fuzz_media",
            "--child",
            *["--runs"] * runs,
        ]
        if trace is not None:
            self._command = [*trace_command(trace), *self._command]

    def read(self, path: Path) -> str:
        """Return the child's result for a file, or `CRASH status` or `HANG` if there is none."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(str(path)) + "\n")
        process.stdin.flush()
        ready = _wait_for_output(process)
        line = process.stdout.readline() if ready else ""
        if line:
            return str(json.loads(line))
        self.close()
        return f"CRASH {process.returncode}" if ready else "HANG"

    def close(self) -> None:
        """Kill the child process if it is running."""
        process = self._process
        self._process = None
        if process is not None:
            process.kill()
            process.communicate()


def _wait_for_output(process: subprocess.Popen[str]) -> bool:
    """Return whether a process writes something, or ends, before its time is used up."""
    used = psutil.Process(process.pid)
    start = sum(used.cpu_times()[:2])
    end = time.monotonic() + SECONDS_PER_INPUT
    while time.monotonic() < end:
        ready, _, _ = select.select([process.stdout], [], [], 1.0)
        if ready:
            return True
        if sum(used.cpu_times()[:2]) - start > CPU_SECONDS_PER_INPUT:
            break
    return False


def trace_command(trace: Path) -> list[str]:
    """Return the strace command that logs the files and addresses a program opens to `trace`."""
    options = ["-f", "-A", "-qq", "--seccomp-bpf", "-s", "4096"]
    return ["strace", *options, "-e", "trace=open,openat,openat2,connect", "-o", str(trace)]


def find_opened_outside(trace: Path) -> list[str]:
    """Return the files and addresses in a trace that are neither inputs nor libraries, sorted."""
    root = SAMPLES.parent.parent
    packages = [str(root / name) for name in ("crossnetpp", "deploy", "jobs", "pipeline")]
    own = (sys.prefix, sys.base_prefix, *packages, f"{tempfile.gettempdir()}/{SCRATCH}")
    system = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/")

    found = set()
    for line in trace.read_text(errors="replace", encoding="utf-8").splitlines():
        call = re.search(r"(open|openat|openat2|connect)\((.*)\)\s*= (-?\d+)", line)
        if call is None or "O_DIRECTORY" in line or "AF_UNIX" in line:
            continue
        if call[1] != "connect" and call[3].startswith("-"):
            continue

        quoted = re.search(r'"(.*?)"', call[2])
        path = quoted[1] if quoted else call[2]
        if call[1] == "connect" or (path.startswith("/") and not path.startswith((*own, *system))):
            found.add(path)
    return sorted(found)


def fuzz(
    seconds: float,
    seed: int,
    count: int = 1 << 40,
    keep: Path | None = None,
    *,
    runs: bool = False,
    trace: Path | None = None,
) -> Iterator[tuple[int, str]]:
    """Yield the number and the result of each input, for at most `seconds` and `count` inputs.

    `keep` is a folder for failing inputs. For `runs` and `trace`, see the module's docstring.
    """
    originals = [path.read_bytes() for path in list_samples()]
    if runs:  # whole recordings would take seconds each
        originals = [data for path in list_samples() for data in cut_beginnings(path)]

    first = seed * INPUTS_PER_SEED
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        path = Path(scratch) / "input"
        reader = Child(scratch, runs=runs, trace=trace)
        try:
            for number in range(first, first + count):
                if time.monotonic() > end:
                    break

                index = number % INPUTS_PER_SEED
                intact = runs and index < len(originals)
                data = originals[index] if intact else damage_sample(number, originals)
                path.write_bytes(data)
                answer = reader.read(path)
                if intact and "differs from its plan" in answer:
                    answer = f"DIFFERS {answer}"
                if answer.split()[0].isupper() and keep is not None:
                    path.rename(keep / str(number))
                yield number, answer
        finally:
            reader.close()


def main() -> int:
    """Test the inputs and print the failures; return 1 if there are any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="total seconds (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the damage (default 1)")
    parser.add_argument("--count", type=int, default=1 << 40, help="maximum number of inputs")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save failing inputs to FOLDER")
    parser.add_argument(
        "--runs", action="store_true", help="enhance the inputs instead of only reading them"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="record opened files in FILE; needs strace"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts to FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve_as_child(enhance_file if options.runs else read_file)
        return 0

    counts: Counter[str] = Counter()
    results = fuzz(
        options.seconds,
        options.seed,
        options.count,
        options.keep,
        runs=options.runs,
        trace=options.trace,
    )
    for number, answer in results:
        word = answer.split()[0]
        counts[word] += 1
        if word.isupper():
            sys.stdout.write(f"{number}: {answer}\n")
    sys.stdout.write(f"{counts.total()} inputs: {dict(counts)}\n")

    outside = find_opened_outside(options.trace) if options.trace else None
    if outside:
        sys.stdout.write(f"OPENED {outside}\n")
    if options.json:
        summary = {"seed": options.seed, "runs": options.runs, "inputs": counts.total()}
        summary |= {"outcomes": counts, "opened_outside": outside, "machine": describe_machine()}
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 1 if outside or any(word.isupper() for word in counts) else 0


if __name__ == "__main__":
    raise SystemExit(main())
