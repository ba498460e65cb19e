"""Run the matrix of media cases and print what became of each: `python -m jobs.media.matrix`.

With `--odd FOLDER` the odd files of others in that folder come first.
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

from jobs.media.cases import cover
from jobs.media.contract import Result, check
from jobs.media.odd import check_all


def main() -> int:
    """Return 1 when a case has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="cases; default 320")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of cases")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--out", type=Path, help="write the table as JSON there")
    parser.add_argument("--keep", type=Path, help="keep the files of faulty cases in this folder")
    parser.add_argument("--odd", type=Path, metavar="FOLDER", help="odd files of others")
    options = parser.parse_args()
    started = time.monotonic()
    odd = list(check_all(options.odd)) if options.odd else []
    for each in odd:
        say(f"odd  {each.outcome:8s} {each.name}: {each.detail}")
    results: list[Result] = []
    for number, case in enumerate(cover(options.count, options.seed)):
        if options.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            result = check(case, folder)
            if result.faults and options.keep:
                folder.rename(options.keep / f"{number:04d}")
                folder.mkdir()
        results.append(result)
        say(f"{number:4d} {result.outcome:8s} {case.name}")
        for line in (*result.faults, *([result.refusal] if result.refusal else ())):
            say(f"       - {line}")
    counts = Counter(result.outcome for result in results)
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    say(f"{len(results)} cases in {time.monotonic() - started:.0f} s: {words}")
    if options.out:
        table = {
            "cases": len(results),
            "outcomes": counts,
            "odd": [each._asdict() for each in odd],
            "table": [
                {"case": asdict(r.case), "outcome": r.outcome, "notes": r.notes, "faults": r.faults}
                for r in results
            ],
        }
        options.out.write_text(json.dumps(table, indent=1) + "\n")
    return 1 if counts["FAULT"] or any(each.outcome == "FAULT" for each in odd) else 0


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("error")
    raise SystemExit(main())
