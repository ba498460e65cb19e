"""Start, follow and stop jobs that run `pipeline run` on a Ray cluster.

Only the code, templates, self-test picture and shipped weights of `crossnetpp`, `deploy` and
`pipeline` are uploaded. INPUT, REF and OUT must be URLs or paths on the cluster.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, Interrupted, PipelineError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# Files in each package that are uploaded, in .gitignore notation. The weights take 3 MB.
UPLOADED = (
    *("*.py", "py.typed", "*.yaml", "/report/template/**", "/selftest.png"),
    "/weights/*.safetensors",
)
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
AGENT_TIMEOUT_SECONDS = 60.0  # how long to wait until a new cluster accepts a job
POLL_SECONDS = 0.5

_LONGEST_REASON = 300  # characters; the rest is cut off, because it may be a whole web page
_NO_AGENT = "No available agent"
_FINAL_STATES = ("SUCCEEDED", "FAILED", "STOPPED")
# Prefix of the log's last line with the exit status, because Ray reports 1 for any failure.
_EXIT_STATUS_MARK = "PIPELINE_EXIT_STATUS"


def runtime_env() -> dict[str, Any]:
    """Return a Ray runtime environment that uploads the three packages and installs nothing."""
    root = Path(__file__).parents[2]
    packages = [str(root / name) for name in ("crossnetpp", "deploy", "pipeline")]
    # exclude all other files, such as recordings, engines, other weights and wheels
    return {"py_modules": packages, "excludes": ["?*.?*", *(f"!{name}" for name in UPLOADED)]}


def connect_client(address: str | None) -> JobSubmissionClient:
    """Return a client for the cluster's job server; raises InputError if it cannot be reached."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_AUTH_TOKEN") or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise InputError(
            f"cannot reach a Ray dashboard at {address} ({_short_reason(error)}); check --address "
            "and RAY_AUTH_TOKEN"
        ) from error


def submit_job(
    client: JobSubmissionClient, arguments: tuple[str, ...], *, installed: bool = False
) -> str:
    """Start a job that runs `pipeline run ARGUMENTS`, and return its ID.

    With `installed`, nothing is uploaded, because the package is already on the cluster. Raises
    PipelineError if the cluster rejects the job.
    """
    from ray.exceptions import RayError

    entrypoint = shlex.join(["python", "-P", "-m", "pipeline", "run", *arguments])
    deadline = time.monotonic() + AGENT_TIMEOUT_SECONDS
    while True:
        try:
            return client.submit_job(
                entrypoint=f"{entrypoint} || (echo {_EXIT_STATUS_MARK}=$?; exit 1)",
                runtime_env={} if installed else runtime_env(),
            )
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            # a new cluster answers before its agent, which starts jobs, is ready
            if _NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise PipelineError(
                    f"the cluster rejected the job ({_short_reason(error)}); check the cluster "
                    "with `ray status`"
                ) from error
        time.sleep(POLL_SECONDS)


def follow_job(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> None:
    """Pass every line of a job's output to `show` until the job ends.

    Raises PipelineError with the job's exit status if the job does not succeed, and Interrupted if
    the user stops following the job.
    """
    status = 0
    last_line = ""
    try:
        for chunk in _read_log(client, job, show):
            for line in chunk.splitlines(keepends=True):
                if line.startswith(f"{_EXIT_STATUS_MARK}="):
                    status = int(line.partition("=")[2])
                else:
                    show(line)
                    last_line = line.strip() or last_line
    except KeyboardInterrupt:
        raise Interrupted(
            f"the job continues; `pipeline submit --follow {job}` follows it, and --stop stops it"
        ) from None

    info = wait_for_job(client, job)
    state = info.status.value
    if state == "SUCCEEDED":
        return

    reason = last_line.removeprefix("error: ")
    if not reason:
        reason = _short_reason(Exception(info.message or "no reason was reported"))
    error = PipelineError(f"job {job} {state.lower()}: {reason}")
    error.exit_status = 130 if state == "STOPPED" else status or 1
    raise error


def stop_job(client: JobSubmissionClient, job: str) -> str:
    """Stop a job, and return its final state; the segments that it has committed are kept.

    Raises InputError if the job is not running.
    """
    if not client.stop_job(find_job(client, job).submission_id or job):
        raise InputError(f"job {job} is not running, so it cannot be stopped; see --status {job}")
    return str(wait_for_job(client, job).status.value)


def _read_log(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> Iterator[str]:
    """Yield the job's output in chunks of lines, as it is written."""
    find_job(client, job)
    logs: Any = client.tail_job_logs(job)  # an asynchronous generator
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(logs.__anext__())
            except StopAsyncIteration:
                return
            except RuntimeError as error:
                show(f"the log ended early: {_short_reason(error)}\n")
                return
    finally:
        loop.run_until_complete(logs.aclose())
        loop.close()


def find_job(client: JobSubmissionClient, job: str) -> Any:
    """Return Ray's JobDetails for a job.

    Raises InputError if there is no such job or access is denied, and PipelineError if the
    connection is lost.
    """
    from ray.exceptions import RayError

    try:
        return client.get_job_info(job)
    except RayError as error:
        raise InputError(
            f"the cluster denied access: {_short_reason(error)}; check RAY_AUTH_TOKEN"
        ) from error
    except OSError as error:  # `requests` raises its connection errors as OSError
        raise PipelineError(
            f"lost the connection to the cluster: {_short_reason(error)}; if the job still runs, "
            f"`pipeline submit --follow {job}` follows it; if not, submit the same arguments again "
            "to resume"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"there is no job {job} ({_short_reason(error)}); `ray job list` lists submitted jobs"
        ) from error


def wait_for_job(client: JobSubmissionClient, job: str) -> Any:
    """Wait until a job ends, and return its final JobDetails; raises the errors of `find_job`."""
    while (info := find_job(client, job)).status.value not in _FINAL_STATES:
        time.sleep(POLL_SECONDS)
    return info


def _short_reason(error: Exception) -> str:
    return first_line(error)[:_LONGEST_REASON]
