"""The command `pipeline` with actors that kill themselves, for `jobs.stress.chaos`.

    python -m jobs.stress.deadly_actor EVENT CALL MARKER ARGUMENT...

The CALL-th time that an actor comes to EVENT (decode, infer, before commit, after commit), it kills
itself with SIGKILL and writes the file MARKER. Once the file exists, no other actor does so.
"""

from __future__ import annotations

import os
import signal
import sys
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


class Fate:
    """Counts the calls of one stage, and kills the process at the chosen one."""

    def __init__(self, event: str, call: int, marker: Path) -> None:
        self._event = event
        self._left = call
        self._marker = marker

    def reach(self, event: str) -> None:
        """Count a call if it is of the chosen stage."""
        if event != self._event:
            return
        self._left -= 1
        if self._left == 0:
            try:
                self._marker.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DeadlyFolder(RunFolder):
    """A run folder whose commits can be deadly."""

    fate: Fate | None = None

    def commit(self, attempt: Path, written: WrittenSegment) -> SegmentRecord:
        """Commit a segment, unless it is this process's fate to die before."""
        assert self.fate is not None
        self.fate.reach("before commit")
        record = super().commit(attempt, written)
        self.fate.reach("after commit")
        return record


class DeadlyDecodeStage(DecodeStage):
    """A decode stage whose batches can be deadly."""

    fate: Fate

    def batches(self, task: SegmentTask) -> Generator[Batch]:
        """Yield the segment's batches."""
        for batch in super().batches(task):
            self.fate.reach("decode")
            yield batch


def make_deadly_actor(event: str, call: int, marker: Path) -> type[SegmentActor]:
    """Return a class of actors that kill themselves, at a chosen call of a stage."""

    class DeadlyActor(SegmentActor):
        def make_worker(self, setup: WorkerSetup, engine: Engine) -> SegmentWorker:
            fate = Fate(event, call, marker)
            plan = fetch_recordings(setup.plan)
            own = local_run_folder(setup.folder)
            folder = DeadlyFolder(own.path, own.digest, own.mirror, fate)
            decoder = DeadlyDecodeStage(plan, borrow=engine.info.borrows)
            decoder.fate = fate

            def enhance(plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
                fate.reach("infer")
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
