"""Build a plan in a child process, because TensorRT may crash or hang."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from deploy.child_process import child_environment
from deploy.trt.building import FAILED, GRAPH, PLAN, REQUEST, TIMING, BuildRequest, Progress
from deploy.trt.library import TensorrtError


class BuiltPlan(NamedTuple):
    """The output of the child process."""

    plan: bytes
    timing: bytes
    """The updated timing cache; empty if no cache was used."""


def ignore_progress(_phase: str, _done: int, _total: int) -> None:
    """Ignore the progress of a build; this is the default."""


def build_plan(
    request: BuildRequest,
    graph: bytes,
    *,
    timing: bytes | None = None,
    progress: Progress = ignore_progress,
) -> BuiltPlan:
    """Return the plan that TensorRT builds from the ONNX file `graph` in a child process.

    `timing` is the timing cache of earlier builds, which may be empty; None means to use no cache.

    Raises TensorrtError if TensorRT rejects the graph, crashes or cannot build a plan. An
    interrupt kills the child at once and leaves no files behind.
    """
    with tempfile.TemporaryDirectory(prefix="tensorrt-") as name:
        folder = Path(name)
        (folder / GRAPH).write_bytes(graph)
        (folder / REQUEST).write_text(json.dumps(request.to_json()), encoding="utf-8")
        if timing is not None:
            (folder / TIMING).write_bytes(timing)

        status = _run(folder, progress)
        if status < 0:
            raise TensorrtError(
                f"{request.library.name} crashed while building a plan (signal {-status}); "
                "try --engine torch"
            )
        if (folder / FAILED).exists():
            raise TensorrtError((folder / FAILED).read_text(encoding="utf-8"))
        if status or not (folder / PLAN).exists():
            lines = (
                (folder / "stderr")
                .read_text(errors="replace", encoding="utf-8")
                .strip()
                .splitlines()
            )
            reason = lines[-1] if lines else "no reason given"
            raise TensorrtError(
                f"{request.library.name} could not build an engine: {reason}; try --engine torch"
            )

        cache = folder / TIMING
        return BuiltPlan(
            (folder / PLAN).read_bytes(), cache.read_bytes() if cache.exists() else b""
        )


def _run(folder: Path, progress: Progress) -> int:
    """Run the child and return its exit status, which is negative if a signal killed it."""
    with (
        (folder / "stderr").open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "deploy.trt.building", str(folder)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Ctrl-C then reaches only the parent, which kills the child
            start_new_session=True,
        ) as child,
    ):
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if (step := _parse_step(line)) is not None:
                    progress(*step)
            return child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise


def _parse_step(line: str) -> tuple[str, int, int] | None:
    """Return the name of a phase, the number of its finished steps, and its total number of steps.

    The result is None if the line does not report progress, for example because a library wrote it.
    """
    try:
        phase, done, total = json.loads(line)
        return str(phase), int(done), int(total)
    except (ValueError, TypeError):
        return None
