"""`pipeline train`, in one process and under Ray Train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossnetpp.checkpoint import load_network
from pipeline.cli.main import main
from tests.support import DATA


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    source = {"kind": "photographs", "files": ["kodak_21.jpg"]}
    tiny = {"steps": 2, "batch": 2, "size": 64, "workers": 0, "log_every": 1, "sources": [source]}
    path.write_text(json.dumps(tiny))  # JSON is YAML
    return path


def test_missing_data_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    ended = CliRunner().invoke(main, ["train", "fast", "--data", str(tmp_path), "-o", str(out)])
    assert ended.exit_code == 2
    assert ended.stderr.count("\n") == 1
    assert "set --data to a folder" in ended.stderr
    assert not out.exists()


def test_a_batch_that_workers_cannot_share_evenly_is_refused(config: Path, tmp_path: Path) -> None:
    arguments = ["train", str(config), "--data", str(DATA), "-o", str(tmp_path / "w.safetensors")]
    ended = CliRunner().invoke(main, [*arguments, "--workers", "3"])
    assert ended.exit_code == 2
    assert "try --set batch=3" in ended.stderr


# raised by Ray when it imports its own data module
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.ray
def test_two_processes_of_ray_train_make_weights(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    arguments = ["train", str(config), "--data", str(DATA), "-o", str(out), "--workers", "2"]
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 0, ended.stderr
    assert load_network(str(out)).multiple == 32
    log = out.with_suffix(".log.jsonl")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == [1, 2]
