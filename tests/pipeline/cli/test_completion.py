"""What a shell suggests: commands, options, files, and the values of options."""

from __future__ import annotations

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete

from crossnetpp.networks.presets import VARIANTS
from pipeline.cli.main import COMMANDS, main


def complete(line: str) -> list[CompletionItem]:
    """Return the suggestions for the last word of a command line, which may be empty."""
    *words, last = line.split(" ")
    return ShellComplete(main, {}, "pipeline", "_PIPELINE_COMPLETE").get_completions(words, last)


def values(line: str) -> list[str]:
    return [item.value for item in complete(line) if item.type == "plain"]


def suggests_files(line: str) -> bool:
    return any(item.type == "file" for item in complete(line))


@pytest.mark.parametrize(
    "line",
    [
        "run lr", "run ", "run lr.mp4 more", "run lr.mp4 --ref-stream h", "run lr.mp4 -o ",
        "run lr.mp4 --output out", "run --manifest l", "run --plan p", "run --ground-truth t",
        "run --report r", "run --model weights/", "plan lr", "plan --save p", "probe c",
        "probe --contact-sheet s", "verify in.mp4 o", "evaluate o", "evaluate --ground-truth h",
        "evaluate --plan p", "report o", "report -o p", "report --plan p", "compare a b",
        "compare a b -o ", "degrade h", "degrade -o l", "convert l", "look l", "train c",
        "keyframes c", "keyframes -o k",
        "status o", "submit lr", "engines export -o ", "engines bench --model w",
        "--config p", "demo -o ",
    ],
)  # fmt: skip
def test_files_are_completed(line: str) -> None:
    assert suggests_files(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ru", ["run"]),
        ("run --eng", ["--engine"]),
        ("run --engine o", ["onnx", "openvino"]),
        ("run --select ", ["auto", "time", "view", "content"]),
        ("run --scale ", ["auto", "2", "3", "4", "8"]),
        ("run --size 1", ["1080p", "1440p"]),
        ("run --codec x", ["x264", "x265"]),
        ("run --quality s", ["small"]),
        ("run --ref-offset ", ["auto"]),
        ("run --pix-fmt yuv444", ["yuv444p", "yuv444p10le"]),
        ("run --model f", ["fast", *VARIANTS]),
        ("run --runner r", ["ray"]),
        ("compare --mode w", ["wipe"]),
        ("convert --to q", ["quilt"]),
        ("engines verify --engine t", ["tensorrt", "torch"]),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_values_are_completed(line: str, expected: list[str]) -> None:
    assert values(line) == expected


def test_every_argument_is_completed() -> None:
    context = click.Context(main)
    without = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and not parameter.shell_complete(context, ""):
                without.append(f"{name} {parameter.human_readable_name}")
    assert without == []
