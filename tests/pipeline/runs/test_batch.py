"""Batches: lists, patterns, a result for each input, and the list of failures to run again."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError, Interrupted
from pipeline.paths import sha256
from pipeline.progress import Reporter, SilentReporter
from pipeline.runs.batch import run_all
from pipeline.runs.items import failed_list_place
from pipeline.runs.manifest import Entry, is_batch, make_entries, read_manifest
from pipeline.runs.parts import RunParts
from pipeline.runs.result import RunResult
from pipeline.schema.settings import RunSettings
from tests.support.commands import invoke
from tests.support.recordings import write_pair

PAIR_FRAMES = 8
CHOSEN = ["--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast", "-q"]
run_command = partial(invoke, "run", *CHOSEN)


@pytest.fixture
def folder(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory with three inputs, their references and a broken input."""
    for name in ("a", "b", "c"):
        shutil.copy(pair[0], tmp_path / f"{name}.mkv")
        shutil.copy(pair[1], tmp_path / f"{name}_hr.mp4")
    (tmp_path / "broken.mkv").write_text("no video\n" * 50)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_input_is_not_a_batch(folder: Path) -> None:
    assert not is_batch(("a.mkv",), None)
    assert not is_batch(("frames/*.png",), None)
    assert is_batch(("*.mkv",), None)
    assert is_batch(("s3://bucket/a?.mkv",), None)
    assert not is_batch(("https://host/a.mkv?X-Amz-Signature=1",), None)
    assert is_batch(("a.mkv", "b.mkv"), None)
    assert is_batch((), "list.csv")


def test_a_pattern_runs_every_match_and_the_bad_one_does_not_stop_it(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    done = run_command("*.mkv", "--ref-stream", pair[1], "-o", "out", "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    by_name = {Path(item["input"]).name: item for item in answer["items"]}
    assert {n: i["status"] for n, i in by_name.items()} == {
        "a.mkv": "done",
        "b.mkv": "done",
        "broken.mkv": "failed",
        "c.mkv": "done",
    }
    assert (answer["done"], answer["failed"], answer["frames"]) == (3, 1, 24)
    assert by_name["a.mkv"]["result"]["output"] == str(folder / "out" / "a.mkv")
    assert "broken.mkv" in by_name["broken.mkv"]["error"]
    assert sorted(p.name for p in (folder / "out").glob("*.mkv")) == ["a.mkv", "b.mkv", "c.mkv"]
    assert done.stderr.startswith("error: 1 of 4 inputs failed; to try again, pass --manifest ")
    assert len(done.stderr.splitlines()) == 1


def test_a_zero_is_a_value(folder: Path, pair: tuple[Path, Path]) -> None:
    rest = ("--ref-stream", pair[1], "-o", "out", "--json")
    answers = [run_command("a.mkv", "b.mkv", *rest, "--end", end).stdout for end in ("0", "0.2")]
    assert [json.loads(answer)["failed"] for answer in answers] == [2, 0]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_flags_of_a_row_override_those_of_the_command(name: str, tmp_path: Path) -> None:
    rows = {
        "list.csv": "input,options\na.mkv,consistent=false force=false\n"
        "b.mkv,consistent=true\nc.mkv,\n",
        "list.jsonl": '{"input": "a.mkv", "consistent": false, "force": false}\n'
        '{"input": "b.mkv", "options": {"consistent": true}}\n{"input": "c.mkv"}\n',
    }
    (tmp_path / name).write_text(rows[name])

    def read_flags(**common: bool) -> list[tuple[bool, bool]]:
        entries = make_entries((), str(tmp_path / name), common)
        assert [entry.error for entry in entries] == [None, None, None]
        settings = [entry.settings for entry in entries if entry.settings is not None]
        return [(each.consistent, each.force) for each in settings]

    assert read_flags() == [(False, False), (True, False), (False, False)]
    assert read_flags(consistent=True, force=True) == [(False, False), (True, True), (True, True)]


def test_an_invalid_value_of_a_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("input,ref_view,consistent\na.mkv,top,\nb.mkv,,perhaps\n")
    errors = [entry.error or "" for entry in make_entries((), str(tmp_path / "list.csv"), {})]
    assert errors[0].startswith("'top' is not a valid value of ref_view: expected two whole")
    assert errors[1].startswith("'perhaps' is not a valid value of consistent: ")


def test_failed_inputs_are_run_again_from_their_list(folder: Path, pair: tuple[Path, Path]) -> None:
    first = run_command("a.mkv", "broken.mkv", "--ref-stream", pair[1], "-o", "out")
    assert first.exit_code == 1
    assert "done     a.mkv  8 frames" in first.stdout
    assert "1 done, 1 failed, 8 frames in" in first.stdout
    listed = folder / "pipeline.failed.jsonl"
    assert len(listed.read_text().splitlines()) == 1
    shutil.copy(pair[0], folder / "broken.mkv")
    again = run_command("--manifest", listed)
    assert again.exit_code == 0, again.stderr
    assert not listed.exists()
    assert sha256(folder / "out" / "broken.mkv") == sha256(folder / "out" / "a.mkv")


def test_a_csv_list_gives_each_input_its_own_options(folder: Path) -> None:
    rows = "input, reference, output, options, crf\na.mkv, a_hr.mp4, out/x.mkv, batch=3, 30\n"
    (folder / "list.csv").write_text(rows + "b.mkv, b_hr.mp4, , ,\n")
    first, second = make_entries((), "list.csv", {"scale": "2", "crf": 20.0})
    assert first.settings is not None
    assert (first.settings.crf, first.settings.batch, first.settings.scale) == (30, 3, "2")
    assert first.settings.input == str(folder / "a.mkv")
    assert first.settings.output == str(folder / "out/x.mkv")
    assert second.settings is not None
    assert (second.settings.crf, second.settings.output) == (20, None)
    assert run_command("--manifest", "list.csv").exit_code == 0
    assert (folder / "out/x.mkv").exists()
    assert (folder / "b_x2.mkv").exists()


def test_a_wrong_line_fails_alone(folder: Path) -> None:
    lines = [
        {"input": "a.mkv", "reference": "a_hr.mp4", "output": "out/1.mkv"},
        {"input": "b.mkv", "reference": "b_hr.mp4", "output": "out/1.mkv"},
        {"input": "b.mkv", "reference": "b_hr.mp4", "output": "out/2.mkv", "scale": 9},
        {"input": "b.mkv", "reference": "b_hr.mp4", "output": "out/3.mkv", "sclae": 2},
        {"input": "c.mkv", "ref": "c_hr.mp4", "output": "out/4.mkv", "options": {"scale": 2}},
    ]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run_command("--manifest", "list.jsonl", "--json")
    items = json.loads(done.stdout)["items"]
    assert [item["status"] for item in items] == ["done", "failed", "failed", "failed", "done"]
    assert "is also the output of another input" in items[1]["error"]
    assert "9 is not a valid value of scale" in items[2]["error"]
    assert "sclae" in items[3]["error"]
    assert (folder / "list.failed.jsonl").exists()


def test_an_output_named_in_two_ways_is_written_once(folder: Path) -> None:
    (folder / "link").symlink_to("out")
    outputs = ["out/1.mkv", "out/./1.mkv", str(folder / "out" / "1.mkv"), "link/1.mkv", "1.mkv"]
    lines = [{"input": "a.mkv", "reference": "a_hr.mp4", "output": name} for name in outputs]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run_command("--manifest", "list.jsonl", "--force", "--json")
    items = json.loads(done.stdout)["items"]
    assert [item["status"] for item in items] == ["done", "failed", "failed", "failed", "done"]
    assert all("is also the output of another input" in item["error"] for item in items[1:4])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "cannot read the manifest"),
        ("a.csv", "reference\nx.mkv\n", "a line without an input"),
        ("a.jsonl", "", "no input"),
        ("a.jsonl", '{"input": "a"}\n[1]\n', "line 2"),
        ("a.jsonl", '{"input": "a"\n', "line 1"),
    ],
)
def test_a_list_that_cannot_be_read_is_one_line(
    folder: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (folder / name).write_text(content)
    done = run_command("--manifest", name)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_paths_are_relative_to_the_list_and_urls_are_not(folder: Path) -> None:
    listed = folder / "out" / "list.jsonl"
    listed.write_text('{"input": "../a.mkv", "reference": "s3://bucket/a.mp4"}')
    (row,) = read_manifest(str(listed))
    assert row == {"input": str(folder / "out" / "../a.mkv"), "ref_stream": "s3://bucket/a.mp4"}


def test_files_of_options_are_relative_to_the_list_and_words_are_not(folder: Path) -> None:
    for name in ("camera.safetensors", "plan.json", "sensor"):
        (folder / "out" / name).touch()
    options = "model=camera.safetensors capture=plan.json adapt=0.5"
    (folder / "out" / "list.csv").write_text(f"input,options\na.mkv,{options}\n")
    (row,) = read_manifest(str(folder / "out" / "list.csv"))
    assert row["model"] == str(folder / "out" / "camera.safetensors")
    assert row["capture"] == str(folder / "out" / "plan.json")
    assert row["adapt"] == "0.5"
    (folder / "out" / "list.jsonl").write_text(
        '{"input": "a.mkv", "model": "fast", "capture": "sensor", "adapt": 60}'
    )
    (row,) = read_manifest(str(folder / "out" / "list.jsonl"))
    assert (row["model"], row["capture"], row["adapt"]) == ("fast", "sensor", 60)


def test_the_list_of_failures_is_written_where_the_user_finds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed_list_place(None, None) == str(folder / "pipeline.failed.jsonl")
    assert failed_list_place(None, "out") == str(folder / "pipeline.failed.jsonl")
    assert failed_list_place("out/a.csv", "b") == str(folder / "out" / "a.failed.jsonl")
    assert failed_list_place("s3://b/a.failed.jsonl", None) == "s3://b/a.failed.jsonl"
    assert failed_list_place(None, "s3://b/o/{stem}.mp4") == "s3://b/o/pipeline.failed.jsonl"
    monkeypatch.setenv(
        "RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"
    )  # whose working directory the user never sees
    assert failed_list_place(None, "out") == str(folder / "out" / "pipeline.failed.jsonl")
    assert failed_list_place(None, "out/{stem}.mp4") == str(
        folder / "out" / "pipeline.failed.jsonl"
    )


def test_stems_are_filled_in(folder: Path) -> None:
    common = {"ref_stream": "{stem}_hr.mp4", "output": "out/{stem}_big.mkv"}
    found = make_entries(("a.mkv", "b.mkv"), None, common)
    assert [e.settings.ref_stream for e in found if e.settings] == ["a_hr.mp4", "b_hr.mp4"]
    assert [e.settings.output for e in found if e.settings] == ["out/a_big.mkv", "out/b_big.mkv"]


def test_stems_are_filled_in_the_rows_of_a_list(folder: Path) -> None:
    row = "{stem}_hr.mp4,out/{stem}_big.mkv\n"
    (folder / "list.csv").write_text(f"input,reference,output\na.mkv,{row}b.mkv,{row}")
    found = [e.settings for e in make_entries((), "list.csv", {}) if e.settings is not None]
    assert [s.ref_stream for s in found] == [str(folder / f"{n}_hr.mp4") for n in "ab"]
    assert [s.output for s in found] == [str(folder / "out" / f"{n}_big.mkv") for n in "ab"]


def test_null_in_a_row_leaves_the_value_of_the_command(folder: Path) -> None:
    row = '{"input": "a.mkv", "output": null, "scale": null, "options": {"crf": null}}'
    (folder / "list.jsonl").write_text(row)
    common = {"output": "out/{stem}.mkv", "scale": "2", "crf": 20.0}
    (entry,) = make_entries((), "list.jsonl", common)
    assert entry.settings is not None
    assert entry.settings.output == "out/a.mkv"
    assert (entry.settings.scale, entry.settings.crf) == ("2", 20)


def test_empty_lines_and_cells_of_a_spreadsheet_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "input,crf\r\na.mkv,20,,\r\n,\r\n\r\n , \r\nb.mkv\r\n,,,\r\n"
    )
    rows = read_manifest(str(tmp_path / "list.csv"))
    names = [str(tmp_path / name) for name in ("a.mkv", "b.mkv")]
    assert rows == [{"input": names[0], "crf": "20"}, {"input": names[1]}]
    (tmp_path / "list.csv").write_text("input,crf\n,20\n")
    with pytest.raises(InputError, match="a line without an input"):
        read_manifest(str(tmp_path / "list.csv"))


def test_the_only_input_of_a_list_goes_into_the_folder_of_outputs(folder: Path) -> None:
    (folder / "list.csv").write_text("input,reference\na.mkv,a_hr.mp4\n")
    (entry,) = make_entries((), "list.csv", {"output": "out"})
    assert entry.settings is not None
    assert entry.settings.output == "out/a.mkv"
    (entry,) = make_entries((), "list.csv", {"output": "x.mkv"})
    assert entry.settings is not None
    assert entry.settings.output == "x.mkv"


def test_an_output_that_is_no_folder_and_a_pattern_without_match(folder: Path) -> None:
    with pytest.raises(InputError, match="pass an existing folder"):
        make_entries(("a.mkv", "b.mkv"), None, {"output": "x.mkv"})
    with pytest.raises(InputError, match="there is no input"):
        make_entries(("no*.mkv",), None, {})


def test_a_signal_ends_the_batch_and_the_rest_is_listed(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise Interrupted("interrupted with 0 of 1 segments committed")

    # without the command, which ends the whole process if Ray has been imported
    listed = folder / "pipeline.failed.jsonl"
    items = make_entries(("a.mkv", "b.mkv"), None, {"ref_stream": str(pair[1]), "output": "out"})
    result, error = run_all(items, SilentReporter(), str(listed), run_one=interrupted)
    assert error is not None
    assert error.exit_status == 130
    assert [item.status for item in result.items] == ["not run", "not run"]
    assert len(listed.read_text().splitlines()) == 2


def test_results_are_not_lost_with_their_list(folder: Path, pair: tuple[Path, Path]) -> None:
    (folder / "pipeline.failed.jsonl").mkdir()
    done = run_command("a.mkv", "broken.mkv", "--ref-stream", pair[1], "-o", "out", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["done"] == 1
    assert "could not be written" in done.stderr


@pytest.mark.parametrize(
    "bad",
    [
        {"input": "/dev/zero"},
        {"input": "ftp://example.invalid/a.mp4"},
        {"input": "ftp:///a.mp4"},
        {"input": "zip://a.mp4"},
        {"input": "local:///etc/passwd"},
        {"input": "a\0b.mkv"},
        {"input": "\ud800.mkv"},
        {"input": "b.mkv", "output": "\udfff.mkv"},
        {"input": "b" * 5000 + ".mkv"},
        {"input": ["a.mkv"]},
        {"input": 5},
        {"input": "b.mkv", "options": [1]},
        {"input": "b.mkv", "output": "a.mkv", "force": True},
    ],
)
def test_a_hostile_line_fails_alone_in_one_line(bad: dict[str, object], folder: Path) -> None:
    before = (folder / "a.mkv").read_bytes()
    good = {"input": "a.mkv", "reference": "a_hr.mp4", "output": "out/1.mkv", "scale": 2}
    hostile = {"reference": "b_hr.mp4", "output": "out/2.mkv", **bad}
    lines = "\r\n".join(map(json.dumps, [hostile, good]))
    (folder / "list.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode() + b"\r\n")

    done = run_command("--manifest", "list.jsonl", "--json")
    assert done.exit_code == 1
    items = json.loads(done.stdout)["items"]
    assert [item["status"] for item in items] == ["failed", "done"]
    assert items[0]["error"]
    assert "\n" not in items[0]["error"]
    assert "not expected" not in items[0]["error"]
    assert (folder / "a.mkv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("input,input\na.mkv,b.mkv\n", "two columns named input"),
        (f"input\n{'a' * (2 << 20)}\n", "is not valid CSV"),
        (f'{{"input": {"[" * 100000}', "is not a JSON object"),
        (f'{{"input": {"9" * 5000}}}', "is not a JSON object"),
    ],
)
def test_a_list_with_hostile_text_is_refused(content: str, message: str, folder: Path) -> None:
    name = "a.csv" if content.startswith("input") else "a.jsonl"
    (folder / name).write_text(content)
    done = run_command("--manifest", name)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_device_is_no_list(folder: Path) -> None:
    done = run_command("--manifest", "/dev/zero")
    assert done.exit_code == 2
    assert "/dev/zero is a device" in done.stderr


def test_an_unexpected_error_of_an_input_does_not_stop_the_others(folder: Path) -> None:
    rows = [{"input": "a.mkv", "ref_stream": "a_hr.mp4", "output": "1.mkv"}] * 2
    entries = [Entry(given=row, settings=RunSettings(**row)) for row in rows]

    def fail(settings: RunSettings, _: Reporter, __: RunParts) -> RunResult:
        raise KeyError(settings.input)

    result, _ = run_all(entries, SilentReporter(), "list", run_one=fail)
    assert [item.status for item in result.items] == ["failed", "failed"]
    assert "KeyError" in (result.items[0].error or "")


def test_a_pattern_of_references_that_the_shell_expanded_is_refused(tmp_path: Path) -> None:
    """All pictures but the first would be inputs of a batch, and the first the only reference."""
    lr, _ = write_pair(tmp_path, frames=3)
    stills = [tmp_path / "stills" / f"IMG_{number}.jpg" for number in (1, 2, 3)]
    stills[0].parent.mkdir()
    for still in stills:
        cv2.imwrite(str(still), np.zeros((96, 128, 3), np.uint8))
    for command in ("run", "plan"):
        done = invoke(command, lr, "--ref-stream", *stills, "--engine", "bicubic")
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert f"quote the pattern: --ref-stream '{tmp_path}/stills/*.jpg'" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr.mkv", "lr.mkv", "stills"]

    # pictures alone may share a folder with their reference
    entries = make_entries(tuple(map(str, stills[1:])), None, {"ref_stream": str(stills[0])})
    assert len(entries) == 2
