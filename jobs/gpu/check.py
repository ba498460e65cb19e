"""Measure this machine's GPU in at most 8 minutes, without network access.

    python -m jobs.gpu.check [--out FILE.json]          writes jobs/results/gpu_check.json
    python -m jobs.gpu.check --device cpu --quick       a smoke test: `fast`, tiny frames, no CUDA

Each case runs in a child process that prints one line per measurement. If a case crashes or runs
out of time, the reason is recorded and the remaining cases still run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.child_process import child_environment
from jobs.gpu.cases import CASES, Case
from jobs.machine import RESULTS, describe_machine

TOTAL_SECONDS = 450.0  # limit for all cases; the rest of the 8 minutes is for start-up and output
CASE_SECONDS = 150.0  # limit for each case
LEAST_SECONDS = 5.0  # a case is skipped if less time than this is left
ENGINES = ("torch", "torch-fp32", "tensorrt", "tensorrt-rtx", "onnx", "openvino")
SIZES = ((1088, 1920), (320, 512), (2176, 3840))  # output height and width, most important first


def list_cases(
    engines: tuple[str, ...], models: dict[str, str], *, quick: bool, device: str
) -> list[Case]:
    """Return the cases, most important first; `models` maps presets to their weights."""
    sizes = ((64, 96),) if quick else SIZES
    batches = (1, 2) if quick else (1, 2, 4, 8)
    common: Case = {"device": device, "quick": quick, "sizes": sizes, "batches": batches}

    found: list[Case] = [{"case": "ceilings", **common}]
    for model, weights in models.items():
        for engine in engines:
            known = {"engine": engine, "model": model, "weights": weights}
            found.append({"case": "engine", **known, **common})
    if device == "cuda":  # on a CPU, compiling takes minutes
        found.append({"case": "compiled", "model": "fast", "weights": "fast", **common})
    found.append({"case": "rtx", **common})
    found.append({"case": "pipeline", "model": "fast", "weights": "fast", **common})
    return found


def case_name(case: Case) -> str:
    """Return a case's name, such as `engine tensorrt paper`."""
    return " ".join(str(case[key]) for key in ("case", "engine", "model") if key in case)


def run_case(case: Case, seconds: float, folder: Path) -> dict[str, Any]:
    """Run a case in a child process for at most `seconds`; return its measurements and failure.

    The failure is text that is empty if the case succeeded. If `seconds` is below LEAST_SECONDS,
    the case is skipped.
    """
    if seconds < LEAST_SECONDS:
        return {"case": case_name(case), "lines": [], "failed": "skipped: no time left"}

    environment = child_environment()
    if case["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""

    out = folder / "lines"
    err = folder / "err"
    failed = ""
    start = time.monotonic()
    with out.open("w", encoding="utf-8") as lines, err.open("w", encoding="utf-8") as errors:
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
    took = round(time.monotonic() - start, 1)

    messages = err.read_text(errors="replace", encoding="utf-8").strip().splitlines()
    if failed and messages:
        failed += f": {messages[-1]}"
    rows = [
        json.loads(line)
        for line in out.read_text(encoding="utf-8").splitlines()
        if line.startswith("{")
    ]
    return {"case": case_name(case), "seconds": took, "lines": rows, "failed": failed}


def format_table(results: list[dict[str, Any]]) -> str:
    """Return the speeds as a Markdown table, and all other measurements and failures as a list."""
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
    """Add `of_ceiling` to each speed, which is its share of the device's matrix throughput."""
    rates = [line for result in results for line in result["lines"] if "matrix_tflops" in line]
    ceilings = {line["precision"]: line["matrix_tflops"] for line in rates}

    for result in results:
        for line in result["lines"]:
            ceiling = ceilings.get(str(line.get("precision")))
            if "fps" in line and "gflop" in line and ceiling:
                line["of_ceiling"] = round(line["fps"] * line["gflop"] / (1000 * ceiling), 4)


def main(arguments: list[str] | None = None) -> int:
    """Run all cases, write the results as JSON, and print them as a table."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.gpu.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--quick", action="store_true", help="use tiny pictures and few repetitions"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=TOTAL_SECONDS,
        help="limit for all cases (default 450)",
    )
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated names")
    parser.add_argument("--models", help="default fast,paper, or only fast with --quick")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_check.json", metavar="FILE")
    options = parser.parse_args(arguments)

    deadline = time.monotonic() + options.seconds
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        folder = Path(name)
        names = options.models or ("fast" if options.quick else "fast,paper")
        models = {model: _weights(model, folder) for model in names.split(",")}
        engines = tuple(options.engines.split(","))
        for case in list_cases(engines, models, quick=options.quick, device=options.device):
            assert case["case"] in CASES
            left = min(CASE_SECONDS, deadline - time.monotonic())
            results.append(run_case(case, left, folder))
            sys.stderr.write(f"{case_name(case)}: {results[-1]['failed'] or 'done'}\n")

    add_shares(results)
    header = {"machine": describe_machine(), "device": options.device, "quick": options.quick}
    options.out.write_text(
        json.dumps({**header, "results": results}, indent=1) + "\n", encoding="utf-8"
    )
    sys.stdout.write(format_table(results) + "\n")
    return 0


def _weights(model: str, folder: Path) -> str:
    """Return `model` if its weights are shipped, or else the path of new random weights.

    Random weights do not change the speed.
    """
    from crossnetpp.checkpoint import WeightsError, find_weights, save_weights
    from crossnetpp.networks.build import build_network

    try:
        find_weights(model)
        return model
    except WeightsError:
        path = folder / f"{model}.safetensors"
        save_weights(build_network(model), model, path)
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
