"""A session for a GPU machine, rehearsed on the CPU with tiny settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from crossnetpp.checkpoint import load_network
from crossnetpp.training.config import load_config
from jobs.gpu.session import CONFIG, copy_run, main
from tests.support import ROOT

SIXTEEN_MIB = 16 * 2**20


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The shipped configuration on the few files of the tests, with tiny steps."""
    settings = yaml.safe_load((ROOT / "crossnetpp" / "configs" / f"{CONFIG}.yaml").read_text())
    settings |= {"batch": 2, "size": 64, "log_every": 1, "save_every": 2, "workers": 0}
    clips = {"files": ["pipeline/samples/monster.mp4"], "frames": 16, "scales": [4]}
    settings["recordings"] |= clips | {"captures": ["sensor", "recorded"]}
    settings["synthetic"] |= {"files": ["tests/data/kodak_21.jpg"], "leave_out": []}
    photographs = {"kind": "photographs", "files": ["tests/data/kodak_21.jpg"]}
    settings["sources"] = [photographs]
    settings["validation"] |= {"every": 10**6, "pairs": 1, "size": 64, "sources": [photographs]}
    settings["validation"]["recordings"] = clips | {"captures": ["sensor"]}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def run(config: str, out: Path, *more: str) -> int:
    words = ["--config", config, "--data", str(ROOT), "--out", str(out), "--minutes", "0.4"]
    return main([*words, "--check-seconds", "0", *more])


def test_a_session_leaves_weights_figures_and_a_run_to_continue(
    tmp_path: Path, config: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(config, first) == 0
    facts = json.loads((first / "session.json").read_text())
    assert facts["steps"] >= 1
    assert facts["samples"] == 2 * facts["steps"]
    assert set(facts["validation_gain_db"]) == {"start", "average", "cooled"}
    for name in ("average", "cooled"):
        assert load_network(str(first / f"{name}.safetensors")).multiple == 32
    files = [path for path in first.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_size <= SIXTEEN_MIB for path in files)

    # Another machine continues the run
    assert run(config, second, "--resume", str(first)) == 0
    more = json.loads((second / "session.json").read_text())
    assert more["steps"] == facts["steps"] + more["steps_of_this_session"]
    assert more["steps_of_this_session"] >= 1
    lines = (second / "run.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, more["steps"] + 1))


def test_a_run_that_goes_on_in_its_own_folder_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "run.state" / "state.json"
    state.parent.mkdir()
    state.write_text("{}")
    (tmp_path / "run.safetensors").write_text("weights")
    copy_run(tmp_path, tmp_path)
    assert state.read_text() == "{}"
    assert (tmp_path / "run.safetensors").read_text() == "weights"


def test_unusable_input_is_one_line(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, tmp_path / "out", "--resume", str(tmp_path)) == 2
    assert "because it has no run.state/state.json" in capsys.readouterr().err
    assert run("missing", tmp_path / "out") == 2
    assert "found no configuration 'missing'" in capsys.readouterr().err


def test_the_shipped_configuration_holds_the_rate_and_leaves_out_what_is_held_out() -> None:
    config = load_config(CONFIG)
    assert config.schedule == "hold"
    assert config.precision == "bf16"
    assert config.recordings is not None
    assert config.synthetic is not None
    assert config.validation.recordings is not None
    assert not set(config.recordings.files) & set(config.validation.recordings.files)
    assert {f"photos/kodak_2{n}.jpg" for n in range(1, 5)} <= set(config.synthetic.leave_out)
