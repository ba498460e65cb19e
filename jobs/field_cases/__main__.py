"""Run the cases and print the result of each: `python -m jobs.field_cases [NUMBER ...]`.

The exit status is 1 if any result is wrong. The cases create their files in temporary folders, with
the `ffmpeg` program or from the small recordings in tests/data.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.field_cases import getting_in, recordings
from jobs.field_cases.case import Bench, Case, UnexpectedError
from jobs.machine import write_result
from pipeline.errors import PipelineError

CASES = (*getting_in.CASES, *recordings.CASES)


def run_case(case: Case) -> dict[str, Any]:
    """Run a case, and return its number, its situation, and the expected and actual results."""
    with tempfile.TemporaryDirectory(prefix="field-case-") as folder:
        try:
            found, right = case.check(Bench(Path(folder))), True
        except UnexpectedError as error:
            found, right = str(error), False
        except (PipelineError, subprocess.SubprocessError, OSError) as error:
            # the other cases should still run
            found, right = f"{type(error).__name__}: {error}".splitlines()[0], False
    return {
        "case": case.number,
        "situation": case.situation,
        "expected": case.right,
        "found": found,
        "right": right,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen cases; if none are chosen, run all and write jobs/results/field_cases.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="cases, such as B4")
    chosen = parser.parse_args(arguments).numbers
    unknown = set(chosen) - {case.number for case in CASES}
    if unknown:
        raise SystemExit(
            f"there is no case {', '.join(sorted(unknown))}; try a number such as B4, "
            "or omit the numbers to run all cases"
        )

    rows = []
    for case in CASES:
        if chosen and case.number not in chosen:
            continue
        row = run_case(case)
        rows.append(row)
        mark = "ok   " if row["right"] else "WRONG"
        sys.stdout.write(f"{mark} {case.number:4} {case.situation:40} {row['found']}\n")
        sys.stdout.flush()

    if not chosen:
        write_result("field_cases", {"cases": rows})
    return 0 if all(row["right"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
