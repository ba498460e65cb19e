"""What this machine's GPU does: one command, at most 8 minutes, nothing from the network.

    python -m jobs.gpu.check [--out FILE.json]          writes jobs/results/gpu_check.json
    python -m jobs.gpu.check --device cpu --quick       all but CUDA, in a minute or two

Each case is a child process that writes a line for each thing it has measured: what crashes, hangs
or runs out of time is recorded as text and takes no other case with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.gpu.cases import CASES, Case
from jobs.machine import RESULTS, describe_machine

SECONDS = 450.0
"""For everything; what is left of 8 minutes is for starting and ending."""
LONGEST = 150.0
"""Seconds that one case may take of it."""
ENGINES = ("torch", "torch-fp32", "tensorrt", "tensorrt-rtx", "onnx", "openvino")
SIZES = ((1088, 1920), (320, 512), (2176, 3840))
"""Output height and width; the one with a goal first."""


def cases(
    engines: tuple[str, ...], models: dict[str, str], *, quick: bool, device: str
) -> list[Case]:
    """Return what to measure, the most wanted first; `models` are names and their weights."""
    sizes = ((64, 96),) if quick else SIZES
    batches = (1, 2) if quick else (1, 2, 4, 8)
    common: Case = {"device": device, "quick": quick, "sizes": sizes, "batches": batches}
    found: list[Case] = [{"case": "ceilings", **common}]
    for model, weights in models.items():
        for engine in engines:
            known = {"engine": engine, "model": model, "weights": weights}
            found.append({"case": "engine", **known, **common})
    found.append({"case": "rtx", **common})
    # how much of the engine's speed the pipeline keeps
    found.append({"case": "pipeline", "model": "fast", "weights": "fast", **common})
    return found


def name_of(case: Case) -> str:
    """Return for example `engine tensorrt paper`."""
    return " ".join(str(case[key]) for key in ("case", "engine", "model") if key in case)


def measured(case: Case, seconds: float, folder: Path) -> dict[str, Any]:
    """Run one case in a child for at most `seconds`; returns its lines and what went wrong."""
    out, err = folder / "lines", folder / "err"
    if seconds < 5:
        return {"case": name_of(case), "lines": [], "failed": "skipped: no time left"}
    searched = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, searched))}
    if case["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    failed = ""
    start = time.monotonic()
    with out.open("w") as lines, err.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "jobs.gpu.cases", json.dumps(case)],
            stdout=lines,
            stderr=errors,
            env=environment,
        )
        try:
            status = child.wait(seconds)
            if status:
                failed = f"ended with status {status}"
        except subprocess.TimeoutExpired:
            failed = f"not finished after {seconds:.0f} s"
        finally:
            child.kill()
            child.wait()
    said = err.read_text(errors="replace").strip().splitlines()
    if failed and said:
        failed += f": {said[-1]}"
    rows = [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]
    took = round(time.monotonic() - start, 1)
    return {"case": name_of(case), "seconds": took, "lines": rows, "failed": failed}


def table(results: list[dict[str, Any]]) -> str:
    """Return the speeds as a Markdown table, and what failed as a list."""
    rows = [
        "| model | engine | output | batch | fps | ms per frame | of the matrix ceiling |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for result in results:
        for line in result["lines"]:
            if "fps" in line and "engine" in line:
                size = f"{line['width']}x{line['height']}"
                share = line.get("of_ceiling")
                rows.append(
                    f"| {line['model']} | {line['engine']} | {size} | {line['batch']} | "
                    f"{line['fps']:.2f} | {line['ms']:.2f} | "
                    f"{'-' if share is None else f'{100 * share:.1f} %'} |"
                )
            else:
                notes.append(f"* {result['case']}: {json.dumps(line)}")
        if result["failed"]:
            notes.append(f"* {result['case']}: {result['failed']}")
    return "\n".join([*rows, "", *notes])


def add_shares(results: list[dict[str, Any]]) -> None:
    """Say of every speed which part it is of what the measured matrix products allow."""
    rates = [line for result in results for line in result["lines"] if "matrix_tflops" in line]
    ceilings = {line["precision"]: line["matrix_tflops"] for line in rates}
    for result in results:
        for line in result["lines"]:
            ceiling = ceilings.get(str(line.get("precision")))
            if "fps" in line and "gflop" in line and ceiling:
                line["of_ceiling"] = round(line["fps"] * line["gflop"] / (1000 * ceiling), 4)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m jobs.gpu.check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny pictures, few turns")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--models", help="default: fast,paper; with --quick only fast")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_check.json")
    given = parser.parse_args(arguments)
    end = time.monotonic() + given.seconds
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        names = given.models or ("fast" if given.quick else "fast,paper")
        models = {model: _weights(model, folder) for model in names.split(",")}
        engines = tuple(given.engines.split(","))
        for case in cases(engines, models, quick=given.quick, device=given.device):
            assert case["case"] in CASES
            left = min(LONGEST, end - time.monotonic())
            results.append(measured(case, left, folder))
            sys.stderr.write(f"{name_of(case)}: {results[-1]['failed'] or 'done'}\n")
    add_shares(results)
    found = {"machine": describe_machine(), "device": given.device, "quick": given.quick}
    given.out.write_text(json.dumps({**found, "results": results}, indent=1) + "\n")
    sys.stdout.write(table(results) + "\n")
    return 0


def _weights(model: str, folder: Path) -> str:
    """Return the shipped weights' name, or a file of random ones: speed does not depend on them."""
    from crossnetpp.checkpoint import WeightsError, save_weights, weights_path
    from crossnetpp.networks.build import build_network

    try:
        weights_path(model)
        return model
    except WeightsError:
        path = folder / f"{model}.safetensors"
        save_weights(build_network(model), model, path)
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
