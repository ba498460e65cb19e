"""The options of the page are those of the command line."""

from __future__ import annotations

import click
import pytest

from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.schema.options import list_options
from pipeline.schema.settings import OPTION_GROUPS
from pipeline.ui.form import ELSEWHERE, check_options, describe_options, make_arguments


def parse(command_name: str, arguments: list[str]) -> dict[str, object]:
    """Return the values that the command line finds in arguments."""
    group = main
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), command_name)
    assert command is not None
    return command.make_context(command_name, [*arguments, "--", "-in.mp4"]).params


def test_every_option_is_on_the_page_once() -> None:
    names = [option["name"] for option in describe_options()]
    assert sorted(names) == sorted(
        field.name for field in list_options(*OPTION_GROUPS) if field.name not in ELSEWHERE
    )
    assert {"size", "scale"} <= {o["name"] for o in describe_options() if o["common"]}


def test_the_command_line_understands_every_value() -> None:
    given = {}
    for option in describe_options():
        text = "3" if option["kind"] == "number" else "-x y"
        given[option["name"]] = "true" if option["kind"] == "flag" else text
        if option["choices"]:
            given[option["name"]] = option["choices"][-1]
    found = parse("run", make_arguments(given))
    for name, text in given.items():
        expected = {"true": True, "3": 3}.get(text, text)
        assert found[name] == expected, name
    assert found["inputs"] == ("-in.mp4",)


def test_a_plan_gets_only_its_own_options() -> None:
    arguments = make_arguments({"ground_truth": "/a.mp4", "crf": "0"}, planned_only=True)
    assert parse("plan", arguments)["crf"] == 0


@pytest.mark.parametrize(
    "values", [{"ref_stream": "x"}, {"exec": "rm"}, {"crf": 18}, {"crf": "1\0"}, {"--x": "1"}]
)
def test_what_is_no_option_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError):
        check_options(values)


def test_empty_values_are_left_out() -> None:
    assert check_options({"crf": " ", "codec": " x265 "}) == {"codec": "x265"}
