"""Run `pipeline` with actors that kill themselves, for `jobs.stress.chaos`.

    python -m jobs.stress.deadly_actor EVENT CALL MARKER ARGUMENT...

An actor that reaches EVENT (decode, infer, before commit, after commit) for the CALL-th time writes
the file MARKER and kills itself with SIGKILL. Once the file exists, no other actor kills itself.

With the event `raylet`, the actor instead writes the process ID of its raylet to MARKER and waits
in its CALL-th inference, so that the caller can kill the raylet of a busy node.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from deploy.protocol import Engine
from pipeline.cli.main import main
from pipeline.execution.cluster.actor import SegmentActor, WorkerSetup
from pipeline.execution.decode import DecodeStage
from pipeline.execution.encode import EncodeStage
from pipeline.execution.infer import enhance_batch
from pipeline.execution.task import Batch, Enhanced, SegmentTask
from pipeline.execution.worker import SegmentWorker
from pipeline.ledger.run_folder import RunFolder, WrittenSegment, local_run_folder
from pipeline.remote.cache import fetch_recordings
from pipeline.runs.parts import RunParts
from pipeline.schema.plan import Plan, SegmentRecord

LONGEST_STOP = 120  # seconds for which an actor waits for its death


class KillSwitch:
    """Counts the calls of one stage, and kills the process at the chosen call."""

    def __init__(self, event: str, call: int, marker: Path) -> None:
        self._event = event
        self._left = call
        self._marker = marker

    def reach(self, event: str) -> None:
        """Count the call if `event` is the chosen one; kill the process at the chosen call."""
        if self._is_due(event) and self._is_first(""):
            os.kill(os.getpid(), signal.SIGKILL)

    def wait_for_death(self) -> None:
        """Count the call; at the chosen call, wait until the raylet's death ends this process."""
        if self._is_due("raylet") and self._is_first(str(os.getppid())):
            time.sleep(LONGEST_STOP)

    def _is_due(self, event: str) -> bool:
        if event != self._event:
            return False
        self._left -= 1
        return self._left == 0

    def _is_first(self, text: str) -> bool:
        """Write `text` to the marker and return True, or return False if the marker exists."""
        try:
            with self._marker.open("x", encoding="ascii") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class DeadlyFolder(RunFolder):
    """A run folder that can kill the process before or after a commit."""

    kill_switch: KillSwitch | None = None

    def commit(self, attempt: Path, written: WrittenSegment) -> SegmentRecord:
        """Commit a segment, and notify the kill switch before and afterwards."""
        assert self.kill_switch is not None
        self.kill_switch.reach("before commit")
        record = super().commit(attempt, written)
        self.kill_switch.reach("after commit")
        return record


class DeadlyDecodeStage(DecodeStage):
    """A decode stage that can kill the process before passing on a batch."""

    kill_switch: KillSwitch

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's batches."""
        for batch in super().batches(task):
            self.kill_switch.reach("decode")
            yield batch


def make_deadly_actor(event: str, call: int, marker: Path) -> type[SegmentActor]:
    """Return an actor class that kills its process at the chosen call of a stage."""

    class DeadlyActor(SegmentActor):
        def make_worker(self, setup: WorkerSetup, engine: Engine) -> SegmentWorker:
            kill_switch = KillSwitch(event, call, marker)
            plan = fetch_recordings(setup.plan)
            own = local_run_folder(setup.folder)
            folder = DeadlyFolder(own.path, own.digest, own.mirror, kill_switch)
            decoder = DeadlyDecodeStage(plan, borrow=engine.info.borrows)
            decoder.kill_switch = kill_switch

            def enhance(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
                kill_switch.reach("infer")
                kill_switch.wait_for_death()
                return enhance_batch(plan, engine, batch)

            stages = decoder, EncodeStage(plan, folder)
            return SegmentWorker(plan, folder, engine, stages=stages, enhance=enhance)

    return DeadlyActor


if __name__ == "__main__":
    chosen_event = sys.argv.pop(1)
    chosen_call = int(sys.argv.pop(1))
    chosen_marker = Path(sys.argv.pop(1))
    actor = make_deadly_actor(chosen_event, chosen_call, chosen_marker)
    main(obj=RunParts(actor=actor))
