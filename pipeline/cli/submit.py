"""`pipeline submit`: start, follow and stop runs on a Ray cluster."""

from __future__ import annotations

import click

from pipeline.cli.options import FILE
from pipeline.cli.words import print_json, print_text
from pipeline.errors import InputError


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--address",
    metavar="URL",
    help="URL of the cluster's dashboard; default: RAY_API_SERVER_ADDRESS, or this machine's.",
)
@click.option("--no-wait", is_flag=True, help="Print the job's name and return at once.")
@click.option("--status", "job", metavar="JOB", help="Show the state of JOB.")
@click.option("--follow", metavar="JOB", help="Follow JOB until it ends.")
@click.option("--stop", metavar="JOB", help="Stop JOB; it can be resumed.")
@click.option(
    "--installed", is_flag=True, help="Upload no code: the package is installed on the cluster."
)
@click.argument(
    "arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=FILE.shell_complete,
    metavar="[INPUT... OPTIONS OF RUN]",
)
def submit(
    address: str | None,
    no_wait: bool,
    job: str | None,
    follow: str | None,
    stop: str | None,
    installed: bool,
    arguments: tuple[str, ...],
) -> None:
    """Start `pipeline run` on a Ray cluster, and follow it.

    The exit status is the run's own. The cluster's token is read from RAY_AUTH_TOKEN or
    ~/.ray/auth_token.
    """
    jobs = [name for name in (job, follow, stop) if name]
    if bool(arguments) + len(jobs) != 1:
        raise click.UsageError(
            "Pass either the arguments of a run, or one of --status, --follow and --stop."
        )
    if arguments:
        check_arguments(arguments)

    from pipeline.tools.submit import connect_client, find_job, follow_job, stop_job, submit_job

    client = connect_client(address)
    if arguments:
        follow = submit_job(client, arguments, installed=installed)
        print_text(follow, err=not no_wait)
        if no_wait:
            return

    if follow:
        follow_job(client, follow, _print_line)
    elif stop:
        state = stop_job(client, stop)
        print_text(f"{stop} {state}; submit the same arguments to resume")
    elif job:
        info = find_job(client, job)
        print_text(f"{job} {info.status.value}: {info.message}")


def check_arguments(arguments: tuple[str, ...]) -> None:
    """Raise UsageError or InputError for arguments that `pipeline run` would reject.

    The job itself makes the checks that are possible only on the cluster, such as whether files
    exist.
    """
    from pipeline.cli.options import make_settings
    from pipeline.cli.run import check_combination, run
    from pipeline.schema.settings import RunSettings

    try:
        with run.make_context("run", list(arguments), resilient_parsing=False) as context:
            values = context.params
    except click.exceptions.Exit:
        raise InputError(
            "--help cannot be submitted; pass the arguments of a run, or see `pipeline run --help`"
        ) from None
    if not values["inputs"] and not values["manifest"]:
        raise InputError("no INPUT was passed; add at least one, or see `pipeline run --help`")
    if values["stream"] is not None:
        raise InputError(
            "--stream cannot be submitted, because no program reads the stdout of a job; pass "
            "-o FILE instead"
        )

    chosen = {name: value for name, value in values.items() if name in RunSettings.model_fields}
    inputs = values["inputs"]
    settings = make_settings(chosen | {"input": inputs[0] if inputs else "-"})
    check_combination(
        (settings.input, settings.ref_stream),
        settings.output,
        several=values["manifest"] is not None or len(inputs) > 1,
        report=values["report"],
        dry_run=values["dry_run"],
        as_json=values["as_json"],
    )


def _print_line(line: str) -> None:
    # the only line that is a JSON object is the result of --json; all others are progress
    if line.startswith("{"):
        print_json(line, end="")
    else:
        print_text(click.unstyle(line), err=True, end="")
