"""Store the page's jobs in a folder, so that a later server finds them."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.ledger.durable import write_atomically
from pipeline.paths import own_folder
from pipeline.ui.job import Job, JobFolder, is_job_id

JOBS = "jobs"
LOCK = "lock"


class JobStore:
    """The jobs in a folder, which only one server may use at a time; the store is thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`; raises InputError if another server uses it or another user owns it."""
        self.folder = folder.absolute()
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        own_folder(self.folder)
        (self.folder / JOBS).mkdir(exist_ok=True)
        self._file_lock = FileLock(self.folder / LOCK, timeout=0)
        try:
            self._file_lock.acquire()
        except Timeout:
            raise InputError(
                f"another `pipeline ui` is using {self.folder}; open its page, or try another "
                "--folder"
            ) from None
        self._load()

    def _load(self) -> None:
        for path in sorted((self.folder / JOBS).iterdir()):
            if not is_job_id(path.name):
                continue
            with suppress(OSError, UnicodeDecodeError, ValidationError):
                text = JobFolder(path).record.read_text(encoding="utf-8")
                job = Job.model_validate_json(text)
                if job.id == path.name:
                    self._jobs[job.id] = job

    def close(self) -> None:
        """Release the folder, so that another server can use it."""
        self._file_lock.release()

    def folder_of(self, job_id: str) -> JobFolder:
        """Return the paths in the folder of a job, whether or not the job exists."""
        return JobFolder(self.folder / JOBS / job_id)

    def list_jobs(self) -> list[Job]:
        """Return all jobs, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.id, reverse=True)

    def find(self, job_id: str) -> Job:
        """Return the job with this ID; raises InputError if there is none."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise InputError("this job no longer exists; reload the page")
        return job

    def create(self) -> Job:
        """Create an empty job and return it."""
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(4)}"
        job = Job(id=name, created=now)
        with self._lock:
            self.folder_of(name).path.mkdir()
            self._write(job)
        return job

    def change(self, job_id: str, **changes: Any) -> Job:
        """Change fields of a job, store the job and return it; raises InputError if it is gone."""
        with self._lock:
            job = Job.model_validate({**self.find(job_id).model_dump(), **changes})
            self._write(job)
            return job

    def change_if(self, job_id: str, condition: Callable[[Job], bool], **changes: Any) -> bool:
        """Change fields of a job if it exists and meets `condition`; return whether it does."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or not condition(job):
                return False
            self.change(job_id, **changes)
            return True

    def keep_failure(self, job_id: str, error: str, **changes: Any) -> None:
        """Record the error and changes of a failed job, only in memory if the disk is full.

        Raises InputError if there is no such job.
        """
        with self._lock:
            known = self.find(job_id).model_dump()
            job = Job.model_validate({**known, **changes, "error": " ".join(error.split())})
            self._jobs[job_id] = job
            with suppress(OSError):
                self._write(job)

    def remove(self, job_id: str) -> None:
        """Delete a job and everything in its folder."""
        with self._lock:
            self._jobs.pop(job_id, None)
        shutil.rmtree(self.folder_of(job_id).path, ignore_errors=True)

    def _write(self, job: Job) -> None:
        write_atomically(self.folder_of(job.id).record, job.model_dump_json(indent=1))
        self._jobs[job.id] = job
