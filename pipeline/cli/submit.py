"""`pipeline submit`: the same arguments as `run`, carried out as a job on a Ray cluster.

Only code travels (the three packages, with the weights that belong to them, and nothing that lies
beside or among them); INPUT, REF and OUT must be URLs or paths that the cluster sees.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import InputError, Interrupted, PipelineError, first_line

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SHIPPED = (
    *("*.py", "py.typed", "*.yaml", "/report/template/**", "/selftest.png"),
    "/weights/*.safetensors",
)
"""What goes along of each package, in .gitignore's notation: the networks' weights have 3 MB."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_LONGEST_REASON = 300  # characters: the dashboard answers with whole pages
_POLL = 0.5
AGENT_TIMEOUT = 60.0
"""Seconds that a starting cluster gets until it takes a job."""
_NO_AGENT = "No available agent"
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_MARK = "PIPELINE_EXIT_STATUS"
"""What the last line tells the exit status with: Ray says 1 for every failure."""


def runtime_env() -> dict[str, Any]:
    """Return Ray's runtime environment: three packages and nothing else, nothing to install."""
    root = Path(__file__).parents[2]
    packages = [str(root / name) for name in ("crossnetpp", "deploy", "pipeline")]
    # whatever else lies there or beside them stays: recordings, engines, weights, wheels
    return {"py_modules": packages, "excludes": ["?*.?*", *(f"!{name}" for name in SHIPPED)]}


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--address", metavar="URL", help="Dashboard of the cluster (RAY_API_SERVER_ADDRESS).")
@click.option("--no-wait", is_flag=True, help="Print the job's name and leave.")
@click.option("--status", "job", metavar="JOB", help="Say how JOB is, submit nothing.")
@click.option("--follow", metavar="JOB", help="Follow JOB to its end.")
@click.option("--stop", metavar="JOB", help="Stop JOB; it can be resumed.")
@click.option("--installed", is_flag=True, help="The cluster's image holds the package: send none.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[INPUT... OPTIONS OF RUN]")
def command(
    address: str | None,
    no_wait: bool,
    job: str | None,
    follow: str | None,
    stop: str | None,
    installed: bool,
    arguments: tuple[str, ...],
) -> None:
    """Run on a Ray cluster what `pipeline run` would run here, and follow it.

    The exit status is that of the run. A token for the cluster is read from RAY_AUTH_TOKEN or
    ~/.ray/auth_token.
    """
    asked = [name for name in (job, follow, stop) if name]
    if bool(arguments) + len(asked) != 1:
        raise click.UsageError("Give either the arguments of a run, or one of --status --follow.")
    client = connect(address)
    if arguments:
        job = submit(client, arguments, installed=installed)
        click.echo(job, err=not no_wait)
        if no_wait:
            return
        follow = job
    if follow:
        finish(client, follow)
    elif stop:
        halt(client, stop)
    else:
        info = _info(client, str(job))
        click.echo(f"{job} {info.status.value}: {info.message}")


def connect(address: str | None) -> JobSubmissionClient:
    """Return a client of the cluster's job server; raises InputError where there is none."""
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
            f"found no Ray cluster at {address} ({_short_reason(error)}), expected its dashboard; "
            "check --address and RAY_AUTH_TOKEN"
        ) from error


def submit(
    client: JobSubmissionClient, arguments: tuple[str, ...], *, installed: bool = False
) -> str:
    """Start a job of `pipeline run ARGUMENTS`; returns its name."""
    from ray.exceptions import RayError

    check(arguments)
    entrypoint = shlex.join(["python", "-m", "pipeline", "run", *arguments])
    deadline = time.monotonic() + AGENT_TIMEOUT
    while True:
        try:
            return client.submit_job(
                entrypoint=f"{entrypoint} || (echo {_MARK}=$?; exit 1)",
                runtime_env={} if installed else runtime_env(),
            )
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            # a head answers before its agent, which starts the jobs, does
            if _NO_AGENT not in str(error) or time.monotonic() > deadline:
                raise PipelineError(
                    f"the cluster refused the job: {_short_reason(error)}"
                ) from error
        time.sleep(_POLL)


def check(arguments: tuple[str, ...]) -> None:
    """Refuse arguments that `pipeline run` would refuse, here and not on the cluster."""
    from pipeline.cli.run import run

    try:
        with run.make_context("run", list(arguments), resilient_parsing=False) as context:
            values = context.params
    except click.exceptions.Exit:
        raise InputError("found --help among the arguments; see `pipeline run --help`") from None
    if not values["inputs"] and not values["manifest"]:
        raise InputError("found no INPUT, expected one; see `pipeline run --help`")


def finish(client: JobSubmissionClient, job: str) -> None:
    """Show a job's output until it ends; raises what its exit status means."""
    status = 0
    text = ""
    try:
        for chunk in _lines(client, job):
            for line in chunk.splitlines(keepends=True):
                if line.startswith(f"{_MARK}="):
                    status = int(line.partition("=")[2])
                else:
                    click.echo(line, nl=False, err=not line.startswith("{"))
                    text = line.strip() or text
    except KeyboardInterrupt:
        raise Interrupted(
            f"the job goes on; `pipeline submit --follow {job}` follows it, --stop ends it"
        ) from None
    info = _wait(client, job)
    if info.status.value == "SUCCEEDED":
        return
    error = PipelineError(f"job {job} {info.status.value.lower()}: {_last(text, info.message)}")
    error.exit_status = 130 if info.status.value == "STOPPED" else status or 1
    raise error


def halt(client: JobSubmissionClient, job: str) -> None:
    """Stop a job; what it has committed stays."""
    if not client.stop_job(_info(client, job).submission_id or job):
        raise InputError(f"found {job} not running, expected a job to stop; see --status {job}")
    click.echo(f"{job} {_wait(client, job).status.value}; submit the same arguments to resume")


def _lines(client: JobSubmissionClient, job: str) -> Any:
    _info(client, job)
    logs: Any = client.tail_job_logs(job)  # an asynchronous generator
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(logs.__anext__())
            except StopAsyncIteration:
                return
            except RuntimeError as error:
                click.echo(f"the log broke off: {_short_reason(error)}", err=True)
                return
    finally:
        loop.run_until_complete(logs.aclose())
        loop.close()


def _info(client: JobSubmissionClient, job: str) -> Any:
    from ray.exceptions import RayError

    try:
        return client.get_job_info(job)
    except RayError as error:
        raise InputError(
            f"the cluster does not let us in: {_short_reason(error)}; check RAY_AUTH_TOKEN"
        ) from error
    except OSError as error:  # as requests calls what the network does
        raise PipelineError(
            f"lost the cluster: {_short_reason(error)}; the job may go on, `pipeline submit "
            f"--follow {job}` follows it, submitting the same arguments again resumes it"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"found no job {job} ({_short_reason(error)}), expected one that was submitted"
        ) from error


def _wait(client: JobSubmissionClient, job: str) -> Any:
    while (info := _info(client, job)).status.value not in _ENDED:
        time.sleep(_POLL)
    return info


def _last(text: str, message: str | None) -> str:
    said = text.removeprefix("error: ")
    return said or _short_reason(Exception(message or "no message"))


def _short_reason(error: Exception) -> str:
    return first_line(error)[:_LONGEST_REASON]


if __name__ == "__main__":
    sys.exit(command())
