"""Options that take a number refuse NaN and infinity in one line, and write nothing."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from pipeline.cli.main import COMMANDS, main
from tests.support.commands import invoke
from tests.support.recordings import write_pair
from tests.support.scenes import write_folder

VALUES = ("nan", "inf", "-inf", "1e999")
PAIR = ("{lr}", "--ref-stream", "{hr}", "--engine", "bicubic")

# command -> arguments without which it would be refused for another reason
ARGUMENTS = {
    "run": (*PAIR, "--runner", "inline", "-o", "{out}.mkv"),
    "plan": PAIR,
    "compare": ("{lr}", "{hr}", "-o", "{out}.png"),
    "degrade": ("{hr}", "--scale", "2", "-o", "{out}.mkv"),
    "keyframes": ("{lr}", "-o", "{out}"),
    "adapt": (*PAIR[:3], "-o", "{out}.safetensors"),
    "look": ("{views}", "-o", "{out}"),
}
# options that take numbers as part of a text
OTHERS = {
    "run": ("scale", "start", "end", "ref_offset", "ref_position", "adapt"),
    "plan": ("scale", "start", "end", "ref_offset", "ref_position", "adapt"),
    "keyframes": ("at",),
    "adapt": ("ref_offset",),
    "look": ("refocus",),
}


def list_options() -> list[tuple[str, str]]:
    """Return the command and the flag of every option that takes a number with decimals."""
    context = click.Context(main)
    found = []
    for command in COMMANDS:
        loaded = main.get_command(context, command)
        assert loaded is not None
        for option in loaded.params:
            is_float = isinstance(option.type, click.types.FloatParamType | click.FloatRange)
            if is_float or option.name in OTHERS.get(command, ()):
                found.append((command, max(option.opts, key=len)))
    return found


OPTIONS = list_options()


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("numbers")
    lr, hr = write_pair(folder, frames=3)
    return {"lr": lr, "hr": hr, "views": write_folder(folder / "views", 2, 2)}


def test_every_listed_option_exists() -> None:
    assert {command for command, _ in OPTIONS} <= set(ARGUMENTS)
    assert set(OPTIONS) >= {
        (command, "--" + name.replace("_", "-"))
        for command, options in OTHERS.items()
        for name in options
    }


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_no_option_takes_a_value_that_is_not_finite(
    command: str, option: str, names: dict[str, Path], tmp_path: Path
) -> None:
    given = [word.format(**names, out=tmp_path / "out") for word in ARGUMENTS[command]]
    if option == "--watch-until-idle":
        given = ["--watch", str(tmp_path), *given[1:-2]]
    for value in VALUES:
        result = invoke(command, *given, f"{option}={value}")
        assert result.exit_code == 2, (value, result.output, result.exception)
        assert option in result.stderr
        assert list(tmp_path.iterdir()) == []
