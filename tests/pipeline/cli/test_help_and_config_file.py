"""Help, suggestions, the configuration file, shell completion and the version."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from crossnetpp.machine import is_linux
from pipeline.cli.config_file import user_file
from pipeline.cli.help import EXAMPLES, GROUPS, group_commands
from pipeline.cli.main import COMMANDS, main
from pipeline.schema import generate
from pipeline.schema.options import SECTIONS, list_options
from pipeline.schema.plan import Plan
from pipeline.schema.settings import OPTION_GROUPS, RunSettings
from tests.support.commands import invoke

PAIR_FRAMES = 6


def test_every_command_is_in_one_group() -> None:
    listed = [name for members in group_commands(COMMANDS).values() for name in members]
    assert sorted(listed) == sorted(COMMANDS)
    assert group_commands(["run", "something new"])[list(GROUPS)[-1]] == ["something new"]


def test_help_of_run_has_sections_and_examples() -> None:
    text = invoke("run", "--help").stdout
    assert all(f"\n{heading}:\n" in text for heading in SECTIONS)
    assert all(f"  {example}\n" in text for example in EXAMPLES["run"])
    assert text.count("--crf") == 1


def test_files_generated_from_the_options_are_up_to_date() -> None:
    hint = "run `make options`"
    assert generate.RUN_OPTIONS.read_text() == generate.write_run_options(), hint
    page = generate.PAGE.read_text()
    assert page == generate.write_page(page), hint


def test_the_page_lists_the_options_of_run_that_are_no_settings() -> None:
    settings = {field.name for field in list_options(*OPTION_GROUPS)}
    command = main.get_command(click.Context(main), "run")
    assert command is not None
    rows = set()
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in settings:
            short_first = ", ".join(sorted(parameter.opts, key=len))
            words = f"{short_first} {parameter.metavar}" if parameter.metavar else short_first
            rows.add(f"| `{words}` | {parameter.help} |")

    listed = generate.PAGE.read_text().split(generate.END)[1].split("\n### ")[0]
    assert {line for line in listed.splitlines() if line.startswith("| `")} == rows


def test_every_setting_but_the_input_has_an_option() -> None:
    options = {field.name for field in list_options(*OPTION_GROUPS)}
    assert options == set(RunSettings.model_fields) - {"input"}


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n in COMMANDS])
def test_options_of_the_examples_exist(name: str) -> None:
    known = invoke(name, "--help").stdout
    for example in EXAMPLES[name]:
        assert all(option in known for option in re.findall(r"--[a-z-]+", example))


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [(["rnu"], "mean run"), (["reprot", "x"], "mean report"), (["run", "--sclae", "2"], "--scale")],
)
def test_mistyped_names_get_a_suggestion(arguments: list[str], suggestion: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert suggestion in result.stderr.splitlines()[-1]


def test_the_version_lists_the_libraries() -> None:
    import av

    lines = invoke("--version").stdout.splitlines()
    assert re.match(r"pipeline \d+\.\d+", lines[0])
    assert f"av {av.__version__}" in lines


def crf_of(pair: tuple[Path, Path], *more: object, env: dict[str, str] | None = None) -> float:
    arguments = (pair[0], "--ref-stream", pair[1], "-o", pair[0].parent / "o.mkv", "--json")
    planned = invoke(*more, "plan", *arguments, env=env)
    assert planned.exit_code == 0, (planned.output, planned.exception)
    crf = Plan.model_validate_json(planned.stdout).encoding.crf
    assert crf is not None
    return crf


def test_command_line_wins_over_variable_over_file_over_default(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert crf_of(pair) == 16
    (tmp_path / "pipeline.toml").write_text("[run]\ncrf = 20\nbatch = 3\n")
    assert crf_of(pair) == 20
    other = tmp_path / "other.toml"
    other.write_text("[run]\ncrf = 21\nforce = true\n[plan]\ncrf = 22\n")
    assert crf_of(pair, env={"PIPELINE_CONFIG": str(other)}) == 22
    assert crf_of(pair, "--config", other) == 22
    assert crf_of(pair, env={"PIPELINE_RUN_CRF": "23"}) == 23
    arguments = ("plan", pair[0], "--ref-stream", pair[1], "--crf", "24", "--json")
    planned = invoke(*arguments, env={"PIPELINE_RUN_CRF": "23"})
    plan = Plan.model_validate_json(planned.stdout)
    assert (plan.encoding.crf, plan.batch) == (24, 3)


@pytest.mark.skipif(not is_linux(), reason="the folder of the user's files is elsewhere")
def test_the_users_own_file_is_trusted_and_yields_to_the_folders(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = user_file()
    assert own == tmp_path / "config" / "crossnetpp-pipeline" / "pipeline.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[run]\ncrf = 19\nforce = true\n")
    assert crf_of(pair) == 19
    assert crf_of(pair, env={"PIPELINE_RUN_CRF": "23"}) == 23
    arguments = ("plan", pair[0], "--ref-stream", pair[1], "-o", tmp_path / "o.mkv")
    assert invoke(*arguments, "-q").stderr == ""

    (tmp_path / "pipeline.toml").write_text("[run]\ncrf = 20\n")
    assert crf_of(pair) == 20
    (tmp_path / "other.toml").write_text("[run]\nbatch = 3\n")
    assert crf_of(pair, "--config", "other.toml") == 16  # a file that is named is read alone
    (tmp_path / "o.mkv").touch()  # which force replaces
    assert invoke(*arguments, "-q").exit_code == 0
    assert invoke("--config", "other.toml", *arguments, "-q").exit_code == 2

    own.write_text("[rnu]\n")
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    assert f"[rnu] in {own} is not the name of a command" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run\n", "is not valid TOML"),
        ("crf = 3\n", "outside any table"),
        ("[rnu]\ncrf = 3\n", "did you mean run"),
        ("[run]\ncfr = 3\n", "did you mean crf"),
        ("[run]\ncrf = [3]\n", "is not a single value"),
        ("[run]\ncrf = true\n", "crf = true under [run]"),
        ("[run]\nref-count = true\n", "not a value of --ref-count"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    text: str, words: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(text)
    result = invoke("--config", tmp_path / "c.toml", "plan", pair[0], "--ref-stream", pair[1])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "force = true",
        'output = "/home/me/precious.mkv"',
        'sandbox = "off"',
        'address = "ray://evil:10001"',
        'plan = "evil.json"',
        'model = "evil.safetensors"',
        'adapt = "evil.safetensors"',
    ],
)
def test_a_file_of_a_strangers_folder_sets_nothing_dangerous(
    line: str, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(f"[run]\ncrf = 20\n{line}\n")
    result = invoke("run", pair[0], "--ref-stream", pair[1], "-o", tmp_path / "o.mkv")
    assert result.exit_code == 2
    assert "pass --config pipeline.toml if you trust the file" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "o.mkv").exists()


@pytest.mark.parametrize("line", ['host = "0.0.0.0"', "port = 80", 'folder = "/home/me"'])
def test_a_file_of_a_strangers_folder_does_not_open_the_page_to_a_network(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(f"[ui]\n{line}\n")
    result = invoke("ui", "--no-open")
    assert result.exit_code == 2
    assert "pass --config pipeline.toml if you trust the file" in result.stderr


def test_a_file_that_was_found_is_named_with_its_options(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text("[run]\ncrf = 20\nbatch = 3\n[probe]\njson = true\n")
    arguments = ("plan", pair[0], "--ref-stream", pair[1], "-o", tmp_path / "o.mkv", "--json")
    note = "note: pipeline.toml in this folder sets batch, crf\n"
    # a time is no file of weights
    (tmp_path / "pipeline.toml").write_text("[run]\nadapt = 60\ncrf = 20\nbatch = 3\n")
    assert "sets adapt, batch, crf\n" in invoke(*arguments).stderr
    (tmp_path / "pipeline.toml").write_text("[run]\ncrf = 20\nbatch = 3\n[probe]\njson = true\n")
    assert invoke(*arguments).stderr == note
    assert invoke("--config", "pipeline.toml", *arguments).stderr == ""
    assert "sets json\n" in invoke("probe", pair[0]).stderr


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    result = invoke("--config", tmp_path / "none.toml", "probe", tmp_path)
    assert result.exit_code == 2
    assert "cannot read the configuration file" in result.stderr


def test_a_dry_run_is_the_plan_and_writes_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = (pair[0], "--ref-stream", pair[1], "-o", tmp_path / "out.mkv", "--json")
    dry = invoke("run", *arguments, "--dry-run")
    planned = invoke("plan", *arguments)
    assert dry.exit_code == 0, (dry.output, dry.exception)
    assert json.loads(dry.stdout) == json.loads(planned.stdout)
    assert list(tmp_path.iterdir()) == []


def test_no_color_removes_the_colour_of_errors() -> None:
    arguments = ["probe", "/nowhere.mkv"]
    coloured = CliRunner().invoke(main, arguments, color=True)
    plain = CliRunner().invoke(main, arguments, color=True, env={"NO_COLOR": "1"})
    assert "\x1b[31m" in coloured.stderr
    assert "\x1b" not in plain.stderr
    assert plain.stderr.startswith("error: /nowhere.mkv")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = invoke("completion", shell).stdout
    assert f"_PIPELINE_COMPLETE={shell}_complete" in script


def test_completion_answers_the_shell() -> None:
    code = "from pipeline.cli.main import main; main(prog_name='pipeline')"
    environment = os.environ | {
        "_PIPELINE_COMPLETE": "bash_complete",
        "COMP_WORDS": "pipeline run --ref-",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "plain,--ref-stream" in done.stdout.splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_verbose(command: str) -> None:
    assert "--verbose" in invoke(command, "--help").stdout
