"""Run the matrix of media cases and print the result of each: `python -m jobs.media.matrix`.

With `--odd FOLDER`, the unusual files from other projects in that folder are checked first. A run
of all cases writes a description of the machine, the number of cases with each outcome, and the
cases in which anything was lost or wrong to jobs/results/media_matrix.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.machine import describe_machine, write_result
from jobs.media.cases import cover_pairs
from jobs.media.contract import Result, check_case
from jobs.media.odd import check_folder

CASES = 320


def main() -> int:
    """Run the cases and print their results; return 1 if a case or an unusual file has a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=CASES, help="number of cases (default 320)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the cases (default 1)")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run only cases with TEXT in the name"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to FILE as JSON")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="save the recordings of faulty cases to FOLDER"
    )
    parser.add_argument("--odd", type=Path, metavar="FOLDER", help="check these files first")
    options = parser.parse_args()

    start = time.monotonic()
    odd = list(check_folder(options.odd)) if options.odd else []
    for result in odd:
        print_line(f"odd  {result.outcome:8s} {result.name}: {result.detail}")

    results: list[Result] = []
    for number, case in enumerate(cover_pairs(options.count, options.seed)):
        if options.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            checked = check_case(case, folder)
            if checked.faults and options.keep:
                folder.rename(options.keep / f"{number:04d}")
                folder.mkdir()

        results.append(checked)
        print_line(f"{number:4d} {checked.outcome:8s} {case.name}")
        for line in (*checked.faults, checked.refusal):
            if line:
                print_line(f"       - {line}")

    counts = Counter(result.outcome for result in results)
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print_line(f"{len(results)} cases in {time.monotonic() - start:.0f} s: {words}")
    summary = {
        "seed": options.seed,
        "cases": len(results),
        "outcomes": counts,
        "odd": [result._asdict() for result in odd],
    }
    if options.out:
        table = {"machine": describe_machine(), **summary, "table": list_outcomes(results)}
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if not options.only and options.count == CASES:
        unusual = [result for result in results if result.outcome != "kept"]
        write_result("media_matrix", {**summary, "not kept": list_outcomes(unusual)})
    return 1 if counts["FAULT"] or any(result.outcome == "FAULT" for result in odd) else 0


def list_outcomes(results: list[Result]) -> list[dict[str, Any]]:
    """Return a record of each result: the case, its outcome, its notes and its faults."""
    return [
        {"case": asdict(r.case), "outcome": r.outcome, "notes": r.notes, "faults": r.faults}
        for r in results
    ]


def print_line(text: str) -> None:
    """Print a line and flush stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("error")
    raise SystemExit(main())
