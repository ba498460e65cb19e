"""Compare methods on the same input, by the papers' protocol and on recordings.

    python -m crossnetpp.evaluate --data DATA --out FOLDER

DATA is laid out as for training (CONTRIBUTING.md) and includes the val and test splits. FOLDER
receives results.md, results.json, cases.jsonl and a contact sheet per scene. A progress bar shows
the time left.

A method is [NAME=]METHOD[:OPTION[+OPTION]]. METHOD is bicubic, classical, classical-plain, fast,
fast-recorded, fast-quick, fast-recorded-quick, paper, crossnet, adapted (short for fast:adapted) or
a safetensors file. The option 1ref gives the method only the nearest reference, bicubic-kernel
hides the measured kernel from it, adapted adapts its network to each recording, mirrored averages
its results for four mirrored versions of every picture, and mixed mixes the network's results with
results of optical flow.

The default groups follow the papers' protocol. The groups bicubic, sensor, recorded and recorded28
are recordings of clips, with the key frames before and after each frame as references; sensor also
contains a stereo pair and a light field.

The published networks take far longer than fast; --stride, --positions, --scenes, --groups and
--device cuda shorten the evaluation.
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
from crossnetpp.data.recorder import KEY_FRAME_EVERY
from crossnetpp.data.sample import DataError
from crossnetpp.evaluation.choose_methods import DEFAULT_METHODS, load_methods
from crossnetpp.evaluation.data_folder import QUICK, DataFolder, Sampling
from crossnetpp.evaluation.figures import SceneResult, measure_scene
from crossnetpp.evaluation.groups import PAPER_GROUPS, load_scenes
from crossnetpp.evaluation.methods import Method
from crossnetpp.evaluation.report import (
    Report,
    describe_machine,
    iterate_case_records,
    make_record,
)
from crossnetpp.evaluation.scenes import EvaluationError, Scene
from crossnetpp.evaluation.sheet import write_contact_sheet
from crossnetpp.evaluation.summary import summarise_results
from crossnetpp.evaluation.tables import render_markdown
from crossnetpp.output_folder import find_obstacle
from crossnetpp.printable import make_printable
from crossnetpp.vmaf import VmafError, find_program


def evaluate(
    scenes: list[Scene], methods: list[Method], console: Console, ffmpeg: str | None = None
) -> list[SceneResult]:
    """Measure all methods on every scene, with a progress bar on `console`.

    VMAF is also measured if `ffmpeg`, the path of the program, is given. Raises VmafError if the
    program fails.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=sum(len(scene.cases) for scene in scenes))
        results = []
        for scene in scenes:
            progress.update(task, description=f"{scene.group} {scene.name} x{scene.scale}")
            results.append(measure_scene(scene, methods, lambda: progress.advance(task), ffmpeg))
    return results


def write_results(report: Report, out: Path) -> None:
    """Write the tables, the record, the results of each case and the contact sheets.

    `out` is the folder for all of them.
    """
    (out / "results.md").write_text(render_markdown(report), encoding="utf-8")
    (out / "results.json").write_text(
        json.dumps(make_record(report), indent=1) + "\n", encoding="utf-8"
    )
    lines = (json.dumps(case) for case in iterate_case_records(report.results))
    (out / "cases.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for result in report.results:
        write_contact_sheet(result, out / f"{result.title}.png")


def run_evaluation(arguments: argparse.Namespace, command: str) -> None:
    """Check the arguments, evaluate and write the results.

    Raises EvaluationError, DataError or WeightsError if the arguments, the data or a weights file
    cannot be used, and VmafError if ffmpeg fails.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    # Arguments
    if obstacle := find_obstacle(arguments.out):
        raise EvaluationError(
            f"found a file at {obstacle}, expected a folder for the results; try another --out"
        )
    if arguments.device != "cpu" and not torch.cuda.is_available():
        raise EvaluationError(
            f"found no CUDA device for --device {arguments.device}; try --device cpu"
        )
    sampling = _make_sampling(arguments)
    ffmpeg = find_program() if arguments.vmaf else None
    if arguments.vmaf and ffmpeg is None:
        raise EvaluationError(
            "found no ffmpeg program with the filter libvmaf, which --vmaf needs; "
            "try `pip install imageio-ffmpeg`, which includes one"
        )

    # Data and methods
    data = DataFolder(arguments.data)
    methods, skipped = load_methods(arguments.methods.split(","), torch.device(arguments.device))
    for name, reason in skipped.items():
        console.print(make_printable(f"{name} is left out: {reason}"))
    names = [method.name for method in methods]
    if arguments.against not in (None, *names):
        raise EvaluationError(
            f"found --against {arguments.against}, expected one of the compared methods, "
            f"{', '.join(names)}; try --against {names[-1]}"
        )
    scenes = load_scenes(data, arguments.groups.split(","), sampling)
    arguments.out.mkdir(parents=True, exist_ok=True)

    # Results
    results = evaluate(scenes, methods, console, ffmpeg)
    report = Report(
        command=command,
        machine=describe_machine(arguments.device),
        sampling=sampling,
        methods={method.name: method.about for method in methods},
        skipped=skipped,
        results=results,
        summary=summarise_results(results, names[1:], arguments.against),
        against=arguments.against,
    )
    write_results(report, arguments.out)
    scene_count = "1 scene" if len(scenes) == 1 else f"{len(scenes)} scenes"
    console.print(f"measured {scene_count}; the tables are in {arguments.out / 'results.md'}")


def _make_sampling(arguments: argparse.Namespace) -> Sampling:
    """Return the part of the data that the options select for measurement.

    Raises EvaluationError if a number is too small, or if --positions cannot be used.
    """
    for option in ("stride", "frames"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise EvaluationError(f"found --{option} {value}, expected 1 or more; try --{option} 2")
    sampling = QUICK if arguments.quick else Sampling()
    if arguments.stride is not None:
        sampling = replace(sampling, stride=arguments.stride)
    if arguments.frames is not None:
        sampling = replace(sampling, frames=arguments.frames)
    if arguments.positions is not None:
        sampling = replace(sampling, positions=_parse_positions(arguments.positions))
    if arguments.scenes is not None:
        sampling = replace(sampling, scenes=tuple(arguments.scenes.split(",")))
    return sampling


def _parse_positions(text: str) -> tuple[int, ...]:
    try:
        positions = tuple(int(word) for word in text.split(","))
    except ValueError:
        positions = ()
    if not positions or not all(0 < position < KEY_FRAME_EVERY for position in positions):
        raise EvaluationError(
            f"found --positions {text}, expected numbers from 1 to {KEY_FRAME_EVERY - 1}; "
            "try --positions 2,5,7"
        )
    return positions


def main(argv: list[str] | None = None) -> int:
    """Run the command line, and return the exit status: 0, or 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="python -m crossnetpp.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that contains the data")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the results"
    )
    parser.add_argument(
        "--methods",
        default=DEFAULT_METHODS,
        help="comma-separated methods or safetensors files (default: %(default)s)",
    )
    parser.add_argument(
        "--groups",
        default=",".join(PAPER_GROUPS),
        help="comma-separated groups of scenes (default: %(default)s)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure only a small part of each group"
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="measure every N-th interval between key frames"
    )
    parser.add_argument(
        "--positions",
        metavar="N,N",
        help="measure only these frames of each interval of a recording, such as 2,5,7",
    )
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="record the first N frames of each clip (default: 150, or 16 with --quick)",
    )
    parser.add_argument(
        "--scenes", metavar="NAME,...", help="measure only these scenes or splits (val, test)"
    )
    parser.add_argument("--against", metavar="NAME", help="also compare all methods with NAME")
    parser.add_argument(
        "--vmaf",
        action="store_true",
        help="also measure the VMAF of successive frames of clips",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    arguments = parser.parse_args(argv)

    try:
        run_evaluation(arguments, _format_command(arguments))
    except (DataError, EvaluationError, VmafError, WeightsError) as error:
        sys.stderr.write(f"{make_printable(str(error))}\n")
        return 2
    return 0


def _format_command(arguments: argparse.Namespace) -> str:
    """Return the command line, with placeholders for local folders."""
    methods = ",".join(_hide_folder(word) for word in arguments.methods.split(","))
    words = ["python -m crossnetpp.evaluate --data DATA --out FOLDER"]
    if methods != DEFAULT_METHODS:
        words.append(f"--methods {methods}")
    if arguments.groups != ",".join(PAPER_GROUPS):
        words.append(f"--groups {arguments.groups}")
    for option in ("stride", "positions", "frames", "scenes", "against"):
        if (value := getattr(arguments, option)) is not None:
            words.append(f"--{option} {value}")
    for option in ("quick", "vmaf"):
        if getattr(arguments, option):
            words.append(f"--{option}")
    if arguments.device != "cpu":
        words.append(f"--device {arguments.device}")
    return " ".join(words)


def _hide_folder(word: str) -> str:
    """Return the method `word` without the folder of its weights file."""
    name, equals, source = word.rpartition("=")
    return f"{name}{equals}{Path(source).name}"


if __name__ == "__main__":
    sys.exit(main())
