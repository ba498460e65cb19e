"""Run jobs in child processes: one run at a time, and one preparation alongside it."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from crossnetpp.printable import make_printable
from pipeline.errors import InputError, PipelineError, as_pipeline_error, first_line
from pipeline.ledger.durable import remove_path
from pipeline.tools.status import read_status
from pipeline.ui.child import PATIENCE_SECONDS, Child, Ended, end_orphan
from pipeline.ui.commands import (
    PROGRAM,
    make_key_frames_command,
    make_picture_command,
    make_plan_command,
    make_run_command,
    make_run_variables,
)
from pipeline.ui.job import Job
from pipeline.ui.picture_plan import DESCRIPTION
from pipeline.ui.store import JobStore

Preparation = Literal["plan", "key frames"]

_MOST_NOTES = 50
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A requested preparation of a job: its plan or its key frames."""

    what: Preparation
    count: int | None = None
    """Number of key frames; None means as many as make a noticeable difference."""


class Work:
    """The two threads that work on a store's jobs: one for runs, one for plans and key frames."""

    def __init__(self, store: JobStore, *, program: Sequence[str] = PROGRAM) -> None:
        """Start the threads; jobs that an earlier server left unfinished become paused.

        `program` contains the Python arguments that start `pipeline`.
        """
        self._store = store
        self._program = program
        self._changed = threading.Condition()
        self._is_closed = False
        self._queue: list[str] = []
        self._running: tuple[str, Child] | None = None
        self._is_pausing = False
        self._wanted: dict[str, Wanted] = {}
        self._preparing: tuple[str, Preparation, Child | None] | None = None
        self._progress: dict[str, Any] = {}

        for job in store.list_jobs():
            if job.state in ("queued", "running"):
                if job.child is not None:
                    end_orphan(job.child)
                store.change(job.id, state="paused", child=None)
        self._threads = [
            threading.Thread(target=loop, name=f"page-{name}", daemon=True)
            for name, loop in (("runs", self._run_loop), ("plans", self._prepare_loop))
        ]
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float = PATIENCE_SECONDS + 15) -> None:
        """Interrupt the children, and wait at most `timeout` seconds for each thread to end."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._wanted.clear()
            self._stop_run()
            self._stop_preparation()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout)

    def start(self, job_id: str) -> None:
        """Queue a job that is new, paused or failed; raises InputError if it cannot be started."""
        with self._changed:
            job = self._store.find(job_id)
            if job.state in ("queued", "running"):
                return
            if not job.input:
                raise InputError("there is no recording yet; drop one on the page first")
            if job.state == "done":
                raise InputError("this job is done; start a new one")
            self._store.change(job_id, state="queued", error="")
            self._queue.append(job_id)
            self._changed.notify_all()

    def pause(self, job_id: str) -> None:
        """Interrupt a run as Ctrl-C does, or remove it from the queue."""
        with self._changed:
            if job_id in self._queue:
                self._queue.remove(job_id)
                self._store.change(job_id, state="paused")
            elif self._running is not None and self._running[0] == job_id:
                self._stop_run()

    def prepare(self, job_id: str, wanted: Wanted) -> None:
        """Request a plan or key frames, in place of any earlier request for the same job."""
        with self._changed:
            self._wanted.pop(job_id, None)
            self._wanted[job_id] = wanted
            if self._preparing is not None and self._preparing[0] == job_id:
                self._stop_preparation()
            self._changed.notify_all()

    def forget(self, job_id: str) -> None:
        """Stop all work on a job, and wait at most 90 seconds until it has ended."""
        with self._changed:
            self._wanted.pop(job_id, None)
            if self._preparing is not None and self._preparing[0] == job_id:
                self._stop_preparation()
            self.pause(job_id)
            self._changed.wait_for(
                lambda: not (self._is_at_work(job_id) or self._is_prepared(job_id)), timeout=90
            )

    def describe(self, job_id: str) -> dict[str, Any]:
        """Return a job's preparation, progress and place in the queue, for the page."""
        with self._changed:
            activity = None
            if job_id in self._wanted:
                activity = self._wanted[job_id].what
            elif self._preparing is not None and self._preparing[0] == job_id:
                activity = self._preparing[1]
            at_work = self._is_at_work(job_id)
            return {
                "activity": activity,
                "pausing": at_work and self._is_pausing,
                "progress": dict(self._progress) if at_work else None,
                "place": self._queue.index(job_id) + 1 if job_id in self._queue else None,
            }

    def _is_at_work(self, job_id: str) -> bool:
        return self._running is not None and self._running[0] == job_id

    def _is_prepared(self, job_id: str) -> bool:
        return self._preparing is not None and self._preparing[0] == job_id

    def _stop_run(self) -> None:
        if self._running is not None:
            self._is_pausing = True
            self._running[1].stop()

    def _stop_preparation(self) -> None:
        if self._preparing is not None and self._preparing[2] is not None:
            self._preparing[2].stop()

    def _run_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed:
                    return
                job_id = self._queue[0]
            with self._report_failure(job_id, state="failed", child=None):
                self._run(job_id)
            with self._changed:
                if self._running is not None:
                    self._running[1].stop()  # does nothing unless a failure left the child running
                    self._running = None
                self._changed.notify_all()

    def _run(self, job_id: str) -> None:
        """Run a queued job until it ends, and store the outcome."""
        with self._changed:
            if job_id not in self._queue:
                return  # it was paused in the meantime
            self._queue.remove(job_id)
            child = self._begin(job_id)
        ended = child.wait()
        with self._changed:
            self._finish(job_id, ended)

    @contextmanager
    def _report_failure(self, job_id: str, **changes: Any) -> Iterator[None]:
        """Catch an error of the block, and store it in the job together with `changes`.

        Unexpected errors are logged, too. A job that fails for whatever reason must not end the
        work on all others.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, PipelineError | OSError):
                line = str(as_pipeline_error(error))
            else:
                _LOG.error("job %s: %s", job_id, make_printable(traceback.format_exc()))
                line = (
                    f"an unexpected error occurred ({type(error).__name__}: {first_line(error)}); "
                    "report it with the traceback that `pipeline ui` printed"
                )
            with suppress(InputError):  # the job was removed
                self._store.keep_failure(job_id, line, **changes)

    def _begin(self, job_id: str) -> Child:
        """Start the run of a job; raises InputError if the job was removed."""
        job = self._store.find(job_id)
        folder = self._store.folder_of(job_id)
        child = Child(
            make_run_command(job, folder, self._program),
            folder.path,
            variables=make_run_variables(folder),
            on_event=partial(self._note_event, job_id),
        )
        self._running = job_id, child
        self._is_pausing = False
        self._progress = {"frames": job.frames or None, "frames_done": job.frames_done}
        self._store.change(job_id, state="running", child=child.mark, notes=())
        return child

    def _note_event(self, job_id: str, event: dict[str, Any]) -> None:
        """Record the progress, the note or the output that an event of a run reports."""
        kind, text = event.get("event"), event.get("text")
        with self._changed, suppress(InputError):
            if kind in ("progress", "step"):
                self._progress |= {k: event.get(k) for k in ("stage", "step", "fps", "eta_seconds")}

            match kind:
                case "progress":
                    self._progress |= {k: event.get(k) for k in ("frames", "frames_done")}
                case "step":
                    self._progress["step_done"] = event.get("frames_done")
                    self._progress["step_total"] = event.get("frames")
                case "note" if isinstance(text, str):
                    notes = self._store.find(job_id).notes
                    if text not in notes and len(notes) < _MOST_NOTES:
                        self._store.change(job_id, notes=(*notes, text))
                case "end" if event.get("status") == "done":
                    self._store.change(job_id, output=str(event.get("output") or ""))

    def _finish(self, job_id: str, ended: Ended) -> None:
        """Store the outcome of a run in its job."""
        job = self._store.find(job_id)
        frames = int(self._progress.get("frames") or 0)
        changes: dict[str, Any] = {
            "child": None,
            "frames": frames,
            "frames_done": int(self._progress.get("frames_done") or 0),
        }
        if ended.status == 0 or job.output:
            # with an output, the job is done, even if writing the report failed
            result = _parse_result(ended.stdout)
            changes |= {"state": "done", "error": ended.error, "result": result}
            changes["frames_done"] = frames
            changes["output"] = str(result.get("output") or job.output)
        elif self._is_pausing:
            changes |= {"state": "paused", "error": ""}
            changes["frames_done"] = self._count_kept(job_id)
        else:
            changes |= {"state": "failed", "error": ended.error}
        self._store.change(job_id, **changes)

    def _count_kept(self, job_id: str) -> int:
        """Return the number of frames that a paused run has committed, or 0 if unknown."""
        try:
            file = self._store.folder_of(job_id).shown_plan / DESCRIPTION
            described = _parse_result(file.read_text(encoding="utf-8"))
            return read_status(str(described.get("run"))).frames_done
        except (OSError, PipelineError):
            return 0

    def _prepare_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._is_closed)
                if self._is_closed:
                    return
                job_id = next(iter(self._wanted))
                wanted = self._wanted.pop(job_id)
                self._preparing = job_id, wanted.what, None
            with self._report_failure(job_id, is_planned=False):
                self._prepare(self._store.find(job_id), wanted)
            with self._changed:
                self._preparing = None
                self._changed.notify_all()

    def _prepare(self, job: Job, wanted: Wanted) -> None:
        step = self._make_plan if wanted.what == "plan" else self._write_key_frames
        changes = step(job, wanted)
        with self._changed:
            # a newer request, perhaps with other recordings or options, makes this obsolete
            if job.id not in self._wanted:
                self._store.change_if(job.id, lambda found: found.is_open, **changes)
                found = self._store.find(job.id)
                if wanted.what == "key frames" and found.reference and not found.is_planned:
                    # the request for key frames may have replaced one for a plan
                    self._wanted[job.id] = Wanted("plan")

    def _make_plan(self, job: Job, wanted: Wanted) -> dict[str, Any]:
        """Make a job's plan and the plan's pictures, and return the changes to the job."""
        folder = self._store.folder_of(job.id)
        ended = self._call(job, make_plan_command(job))
        if ended.status == 0:
            folder.plan.write_text(ended.stdout, encoding="utf-8")
            ended = self._call(job, make_picture_command(folder))
        return {"is_planned": ended.status == 0, "error": ended.error}

    def _write_key_frames(self, job: Job, wanted: Wanted) -> dict[str, Any]:
        """Write a job's proposed key frames, and return the changes to the job."""
        folder = self._store.folder_of(job.id)
        if folder.key_frames.exists():
            remove_path(folder.key_frames)
        ended = self._call(job, make_key_frames_command(job, folder, wanted.count))
        if ended.status:
            return {"key_frames": 0, "error": ended.error}
        found = _parse_result(ended.stdout).get("key_frames")
        return {"key_frames": len(found) if isinstance(found, list) else 0, "error": ""}

    def _call(self, job: Job, command: list[str]) -> Ended:
        """Run a command of a preparation, and return how it ended; a newer request stops it."""
        with self._changed:
            assert self._preparing is not None
            if job.id in self._wanted or self._is_closed:
                return Ended(1, "", "a newer request replaces this one")
            child = Child(command, self._store.folder_of(job.id).path)
            self._preparing = (*self._preparing[:2], child)
        return child.wait()


def _parse_result(text: str) -> dict[str, Any]:
    """Return the JSON object that a command printed, or {} if it printed none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
