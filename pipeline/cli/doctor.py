"""`pipeline doctor`: check this machine and print the results."""

from __future__ import annotations

import json

import click

from pipeline.cli.options import JSON_OPTION
from pipeline.cli.words import print_json, print_text

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@JSON_OPTION
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check everything that a run needs, and say how to get what is missing.

    The exit status is 1 if a check fails, else 0.
    """
    from pipeline.tools.doctor import run_checks, worst_status

    checks = run_checks()
    worst = worst_status(checks)

    if as_json:
        listed = [check.model_dump() for check in checks]
        print_json(json.dumps({"status": worst, "checks": listed}))
    else:
        for check in checks:
            print_text(
                f" {check.name:<17} {check.found}",
                label=f"{check.status:<5}",
                colour=_COLOURS[check.status],
            )
            if check.advice:
                print_text(f"{'':<23} -> {check.advice}")

    context.exit(1 if worst == "fail" else 0)
