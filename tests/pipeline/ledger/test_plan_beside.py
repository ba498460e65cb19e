"""Outputs whose names differ only in the suffix: neither one's plan replaces the other's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger.plan_beside import plan_path
from pipeline.schema.plan_file import read_plan
from tests.support.commands import invoke

PAIR_FRAMES = 10
QUICK = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast", "--adapt", "off")


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def enhance(pair: tuple[Path, Path], output: object, *more: object) -> dict[str, Any]:
    """Run the command, which must succeed, and return the object that it prints."""
    ref = ("--ref-stream", pair[1], "-o", output)
    done = invoke("run", pair[0], *ref, *QUICK, *more, "--json", "-q")
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_outputs_that_differ_in_their_suffix_have_plans_of_their_own(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    for name, crf, plan in (
        ("out.mkv", "20", "out.plan.json"),
        ("out.mp4", "30", "out.mp4.plan.json"),
        ("out.mov", "40", "out.mov.plan.json"),
    ):
        made = enhance(pair, tmp_path / name, "--crf", crf)
        assert made["reference_map"] == str(tmp_path / plan)
        assert read_plan(tmp_path / plan).output == str(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 6

    # the same commands find their outputs finished, other settings are refused
    enhance(pair, tmp_path / "out.mkv", "--crf", "20")
    enhance(pair, tmp_path / "out.mp4", "--crf", "30")
    refused = invoke(
        "run", pair[0], "--ref-stream", pair[1], "-o", tmp_path / "out.mp4", *QUICK, "--crf", "20"
    )
    assert refused.exit_code == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    # a report and an evaluation use the plan of their own output
    for name, crf in (("out.mkv", "20"), ("out.mp4", "30")):
        page = tmp_path / f"{name}.html"
        assert invoke("report", tmp_path / name, "-o", page, "-q").exit_code == 0
        assert f"--crf {crf}" in page.read_text()
    (tmp_path / "out.mp4.plan.json").unlink()
    assert not plan_path(tmp_path / "out.mp4").exists()


def test_the_plan_of_a_deleted_output_is_replaced(pair: tuple[Path, Path], tmp_path: Path) -> None:
    enhance(pair, tmp_path / "out.mkv")
    (tmp_path / "out.mkv").unlink()
    enhance(pair, tmp_path / "out.mp4")
    assert list_names(tmp_path) == ["out.mp4", "out.plan.json"]
    assert read_plan(tmp_path / "out.plan.json").output == str(tmp_path / "out.mp4")
    # the longer name is kept while it exists
    enhance(pair, tmp_path / "out.mkv")
    (tmp_path / "out.mp4").unlink()
    enhance(pair, tmp_path / "out.mkv", "--force")
    assert list_names(tmp_path) == ["out.mkv", "out.mkv.plan.json", "out.plan.json"]


def test_an_output_in_the_making_keeps_its_plan(pair: tuple[Path, Path], tmp_path: Path) -> None:
    enhance(pair, tmp_path / "out.mkv")
    # as between the publication of the plan and that of the output
    (tmp_path / "out.mkv").rename(tmp_path / "kept")
    (tmp_path / ".out.mkv.run").mkdir()
    (tmp_path / ".out.mkv.run" / "plan.json").write_bytes(b"{}")
    assert plan_path(tmp_path / "out.mp4").name == "out.mp4.plan.json"
    assert plan_path(tmp_path / "out.mkv").name == "out.plan.json"


def test_a_renamed_copy_has_the_plan_that_was_renamed_with_it(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    enhance(pair, tmp_path / "out.mkv")
    (tmp_path / "best.mkv").write_bytes((tmp_path / "out.mkv").read_bytes())
    (tmp_path / "best.plan.json").write_bytes((tmp_path / "out.plan.json").read_bytes())
    assert plan_path(tmp_path / "best.mkv") == tmp_path / "best.plan.json"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"output": 3}', '{"output": "a\\u0000.mkv"}'])
def test_a_file_that_is_no_plan_has_no_owner(text: str, tmp_path: Path) -> None:
    (tmp_path / "out.plan.json").write_text(text)
    assert plan_path(tmp_path / "out.mp4").name == "out.plan.json"


def test_plans_at_urls_do_not_replace_each_other(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "there"
    folder.mkdir()
    for name, crf in (("out.mkv", "20"), ("out.mp4", "30")):
        enhance(pair, f"file://{folder}/{name}", "--crf", crf)
    names = ["out.mkv", "out.mp4", "out.mp4.plan.json", "out.plan.json"]
    assert [name for name in list_names(folder) if not name.startswith(".")] == names
    before = {name: (folder / name).read_bytes() for name in names}
    enhance(pair, f"file://{folder}/out.mkv", "--crf", "20")
    enhance(pair, f"file://{folder}/out.mp4", "--crf", "30")
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_folder_does_not_take_the_plan_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "frames.mkv").touch()
    (tmp_path / "frames.plan.json").write_text('{"output": "frames.mkv", "output_url": ""}')
    assert plan_path(tmp_path / "frames").name == "frames.folder.plan.json"
    assert plan_path(tmp_path / "frames.mkv").name == "frames.plan.json"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.plan.json")
    assert plan_path(tmp_path / "out.mkv").name == "out.plan.json"


def test_the_owner_is_not_found_within_a_text(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").touch()
    note = json.dumps('"output": "other.mkv"')
    (tmp_path / "out.plan.json").write_text(
        f'{{"input": {note}, "output": "a/out.mp4", "output_url": "", "notes": [{note}]}}'
    )
    assert plan_path(tmp_path / "out.mkv").name == "out.mkv.plan.json"
    assert plan_path(tmp_path / "out.mp4").name == "out.plan.json"
