"""Run the attacks of the hostile pass: `python -m jobs.stress.hostile [--only NAME] [--quick]`.

Each attack gives real files to real `pipeline` processes, in its own folder with an empty home. It
is judged by what happened: changes on disk, whether the stranger's code ran, the exit status, the
text, the time, the memory and the remaining processes. The exit status is 1 if anything broke.
Results go to jobs/results/hostile.json, where they replace earlier results for the same cases;
--quick writes no results. The `ffmpeg` program makes the recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crossnetpp.printable import make_printable
from jobs.machine import RESULTS as RESULT_FOLDER
from jobs.machine import write_result
from jobs.stress.hostile import (
    documents,
    endings,
    environment,
    folders,
    inputs,
    limits,
    lists,
    modules,
    parsers,
    pictures,
    plans,
    sidecars,
    sources,
    streams,
    urls,
    weights,
)
from jobs.stress.hostile.bench import RESULTS, Bench, Case, SkippedError
from jobs.stress.hostile.materials import Materials

CASES: tuple[Case, ...] = (
    *modules.CASES,
    *sources.CASES,
    *folders.CASES,
    *plans.CASES,
    *sidecars.CASES,
    *documents.CASES,
    *inputs.CASES,
    *endings.CASES,
    *weights.CASES,
    *lists.CASES,
    *urls.CASES,
    *streams.CASES,
    *pictures.CASES,
    *parsers.CASES,
    *environment.CASES,
    *limits.CASES,
)

_OF_A_KIND = 3  # cases of each kind in a default pass
_LONGEST = 300  # maximum number of characters to record of a command's last line


def run_case(case: Case, materials: Materials) -> dict[str, Any]:
    """Run a case in its own folder, and return the counts and the faults of its attempts.

    The entry `found` lists the last line that each command printed.
    """
    root = Path(tempfile.mkdtemp(prefix="hostile-"))
    bench = Bench(root, materials)
    skipped, failure = "", ""
    try:
        case.act(bench)
    except SkippedError as reason:
        skipped = str(reason)
    except Exception as error:  # the other cases should still run
        failure = f"the case itself failed: {type(error).__name__}: {error}"
    finally:
        _remove(root)

    results = [attempt.result for attempt in bench.attempts]
    outcomes = [attempt.outcome for attempt in bench.attempts]
    faults = [
        make_printable(f"{attempt.command}: {fault}".replace(str(root), ""))
        for attempt in bench.attempts
        for fault in attempt.faults
    ]
    found = " | ".join(dict.fromkeys(outcome.last_line[:_LONGEST] for outcome in outcomes))
    return {
        "case": case.name,
        "direction": case.direction,
        "attack": case.attack,
        "attempts": len(results),
        **{result: results.count(result) for result in RESULTS},
        "faults": [*faults, *filter(None, [make_printable(failure)])],
        "found": make_printable(found.replace(str(root), "")),
        "skipped": skipped,
        "seconds": round(max((outcome.seconds for outcome in outcomes), default=0.0), 1),
        "memory_mb": max((outcome.memory for outcome in outcomes), default=0) >> 20,
    }


def _remove(root: Path) -> None:
    """Delete a case's folder, including any subfolders without access permissions."""
    for place, folders_inside, _ in os.walk(root):
        for name in folders_inside:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(root)


def count_directions(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the counts for each direction, followed by the totals."""
    names = list(dict.fromkeys(row["direction"] for row in rows))
    counts = []
    for name in (*names, "all"):
        chosen = [row for row in rows if name in (row["direction"], "all")]
        sums = {key: sum(row[key] for row in chosen) for key in ("attempts", *RESULTS)}
        counts.append({"direction": name, "cases": len(chosen), **sums})
    return counts


def list_usual_cases() -> list[Case]:
    """Return the cases of a default pass: the first few of each kind, and all quick ones.

    A case's kind is the first word of its name.
    """
    kinds: Counter[tuple[str, str]] = Counter()
    usual = []
    for case in CASES:
        kind = case.direction, case.name.partition("-")[0]
        kinds[kind] += 1
        if case.is_quick or kinds[kind] <= _OF_A_KIND:
            usual.append(case)
    return usual


def choose_cases(only: Sequence[str], *, quick: bool, thorough: bool = False) -> list[Case]:
    """Return the usual cases, all cases if `thorough`, or those that `only` names.

    `only` lists names or directions of cases. Raises SystemExit if no case has such a name.
    """
    known = {case.name for case in CASES} | {case.direction for case in CASES}
    if unknown := set(only) - known:
        raise SystemExit(f"there is no case or direction {', '.join(sorted(unknown))}; try --list")
    if only:
        thorough = True
    cases = CASES if thorough else list_usual_cases()
    chosen = [case for case in cases if case.is_quick or not quick]
    return [case for case in chosen if not only or {case.name, case.direction} & set(only)]


def write_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Write rows to jobs/results/hostile.json, replacing earlier rows for the same cases."""
    file = RESULT_FOLDER / "hostile.json"
    earlier = json.loads(file.read_text(encoding="utf-8"))["cases"] if file.exists() else []
    by_name = {row["case"]: row for row in (*earlier, *rows)}
    known = [by_name[case.name] for case in CASES if case.name in by_name]
    write_result("hostile", {"directions": count_directions(known), "cases": known})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen attacks, and write the results unless the pass is a quick one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a case or a direction"
    )
    parser.add_argument("--quick", action="store_true", help="one or two cases of each direction")
    parser.add_argument("--thorough", action="store_true", help="all cases of each kind")
    parser.add_argument(
        "--jobs", type=int, default=1, help="number of cases to run at a time (default 1)"
    )
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    options = parser.parse_args(arguments)
    cases = choose_cases(options.only, quick=options.quick, thorough=options.thorough)
    if options.list:
        for case in cases:
            sys.stdout.write(f"{case.direction:10} {case.name:32} {case.attack}\n")
        return 0

    rows = []
    with tempfile.TemporaryDirectory(prefix="hostile-materials-") as folder:
        materials = Materials(Path(folder))
        workers = ThreadPoolExecutor(options.jobs)
        for row in workers.map(lambda case: run_case(case, materials), cases):
            rows.append(row)
            mark = "BROKEN" if row["faults"] else "-     " if row["skipped"] else "ok    "
            sys.stdout.write(f"{mark} {row['direction']:10} {row['case']:32} {row['attempts']:3}\n")
            for line in (*row["faults"], *filter(None, [row["skipped"]])):
                sys.stdout.write(f"       {line}\n")
            sys.stdout.flush()

    counts = count_directions(rows)
    sys.stdout.write(f"{'':12}{'attempts':>10}" + "".join(f"{r:>10}" for r in RESULTS) + "\n")
    for count in counts:
        figures = (count["attempts"], *(count[result] for result in RESULTS))
        sys.stdout.write(f"{count['direction']:12}" + "".join(f"{f:10}" for f in figures) + "\n")
    if not options.quick:
        write_rows(rows)
    return 1 if any(row["faults"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
