"""Put methods side by side by the papers' protocol: one run, one degradation.

    python -m crossnetpp.evaluate --data DATA --out FOLDER

DATA is laid out as for training (CONTRIBUTING.md) and holds the val and test splits too. FOLDER
gets results.md, results.json, cases.jsonl and a contact sheet for each scene. With bicubic,
classical and fast all of it takes at most 25 minutes on two cores; the published networks take some
twenty times as long as fast: give them --stride, --groups or --device cuda.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crossnetpp.checkpoint import WeightsError
from crossnetpp.evaluation.figures import SceneResult, measure
from crossnetpp.evaluation.methods import DEFAULT, Method, load_methods
from crossnetpp.evaluation.protocol import GROUPS, QUICK, Data, Sampling, load_scenes
from crossnetpp.evaluation.report import Report, cases, machine, record
from crossnetpp.evaluation.scenes import EvaluationError, Scene
from crossnetpp.evaluation.sheet import write_sheet
from crossnetpp.evaluation.summary import summarise
from crossnetpp.evaluation.tables import markdown


def evaluate(scenes: list[Scene], methods: list[Method], console: Console) -> list[SceneResult]:
    """Return what was measured on each scene, with a progress bar on `console`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=sum(len(scene.cases) for scene in scenes))
        results = []
        for scene in scenes:
            progress.update(task, description=f"{scene.group} {scene.name} x{scene.scale}")
            results.append(measure(scene, methods, lambda: progress.advance(task)))
    return results


def write(report: Report, out: Path) -> None:
    """Write tables, record, every picture's figures and contact sheets into the folder `out`."""
    (out / "results.md").write_text(markdown(report))
    (out / "results.json").write_text(json.dumps(record(report), indent=1) + "\n")
    lines = (json.dumps(case) for case in cases(report.results))
    (out / "cases.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for result in report.results:
        write_sheet(result, out / f"{result.title}.png")


def run(arguments: argparse.Namespace, command: str) -> None:
    """Evaluate as asked; raise EvaluationError or WeightsError for what cannot be used."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise EvaluationError(
            f"found a file at {arguments.out}, expected a folder for the results; try another --out"
        )
    if arguments.device != "cpu" and not torch.cuda.is_available():
        raise EvaluationError(
            f"found no CUDA device for --device {arguments.device}, expected one; try --device cpu"
        )
    if arguments.stride is not None and arguments.stride < 1:
        raise EvaluationError(f"found --stride {arguments.stride}, expected 1 or more; try 2")
    sampling = QUICK if arguments.quick else Sampling()
    if arguments.stride is not None:
        sampling = replace(sampling, stride=arguments.stride)
    data = Data(arguments.data)
    methods, skipped = load_methods(arguments.methods.split(","), torch.device(arguments.device))
    for name, why in skipped.items():
        console.print(f"{name} is left out: {why}")
    scenes = load_scenes(data, arguments.groups.split(","), sampling)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = evaluate(scenes, methods, console)
    names = [method.name for method in methods]
    about = {method.name: method.about for method in methods}
    rows = summarise(results, names[1:])
    report = Report(command, machine(arguments.device), sampling, about, skipped, results, rows)
    write(report, arguments.out)
    console.print(f"{len(scenes)} scenes; tables in {arguments.out / 'results.md'}")


def main(given: list[str] | None = None) -> int:
    """Read the command line and evaluate; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crossnetpp.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--methods", default=DEFAULT, help=f"names or safetensors files, by commas ({DEFAULT})"
    )
    parser.add_argument("--groups", default=",".join(GROUPS), help=f"some of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="a small part of each group")
    parser.add_argument("--stride", type=int, help="every how many-th interval between key frames")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    arguments = parser.parse_args(given)
    try:
        run(arguments, _command(arguments))
    except (EvaluationError, WeightsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """Return the command with the two folders by their placeholders: they say nothing elsewhere."""
    methods = ",".join(Path(name).name for name in arguments.methods.split(","))
    words = ["python -m crossnetpp.evaluate --data DATA --out FOLDER"]
    words += [f"--methods {methods}"] if methods != DEFAULT else []
    words += [f"--groups {arguments.groups}"] if arguments.groups != ",".join(GROUPS) else []
    words += ["--quick"] if arguments.quick else []
    words += [f"--stride {arguments.stride}"] if arguments.stride is not None else []
    words += [f"--device {arguments.device}"] if arguments.device != "cpu" else []
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
