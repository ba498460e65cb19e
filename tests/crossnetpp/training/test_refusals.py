"""What cannot be trained is refused in one line with status 2, and no weights are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossnetpp.checkpoint import load_network
from crossnetpp.train import main
from tests.support import DATA

PHOTOGRAPH = {"kind": "photographs", "files": ["kodak_21.jpg"]}
SETTINGS: dict[str, Any] = {
    **{"steps": 2, "batch": 1, "size": 64, "workers": 0, "save_every": 1, "warm_up": 0},
    "sources": [PHOTOGRAPH],
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "weights.safetensors"


def run_training(
    monkeypatch: pytest.MonkeyPatch, out: Path, *words: str, **changes: Any
) -> str | int | None:
    """Run `python -m crossnetpp.train` and return its exit status."""
    config = out.parents[1] / "config.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | changes))
    arguments = ["train", str(config), "--data", str(DATA), "--out", str(out), *words]
    monkeypatch.setattr("sys.argv", arguments)
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0


def check_refusal(status: object, capsys: pytest.CaptureFixture[str], message: str) -> None:
    """Check that the command ended with status 2 and one line that contains `message`."""
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rate", float("inf")),
        ("clip_gradient", float("inf")),
        ("warm_up", -5),
        ("weight_decay", -1.0),
        ("seed", -1),
        ("workers", -1),
        ("log_every", 0),
        ("save_every", 0),
        ("steps", 10**20),
        ("batch", 10**11),
        ("size", 2**40),
        ("scales", []),
        ("loss", {"warping": -1}),
        ("validation", {"size": 100, "sources": [PHOTOGRAPH]}),
        ("validation", {"size": 0, "sources": [PHOTOGRAPH]}),
        ("validation", {"scales": [], "sources": [PHOTOGRAPH]}),
        ("recordings", {"files": ["big_buck_bunny_720p.mp4"], "scales": []}),
        ("recordings", {"files": ["big_buck_bunny_720p.mp4"], "captures": []}),
        ("synthetic", {"files": ["kodak_21.jpg"], "reach": float("inf")}),
        ("sources", [PHOTOGRAPH | {"reach": 0}]),
    ],
)
def test_a_setting_out_of_range_is_refused(
    setting: str,
    value: object,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run_training(monkeypatch, out, **{setting: value})
    check_refusal(status, capsys, f"found {setting}")
    assert not out.parent.exists()


@pytest.mark.parametrize("pattern", ["/etc/*", "", "**x", "."])
def test_an_invalid_pattern_is_refused(
    pattern: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"kind": "photographs", "files": [pattern]}
    status = run_training(monkeypatch, out, sources=[source])
    check_refusal(status, capsys, "found the pattern")
    assert not out.parent.exists()


def test_freezing_everything_is_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [name for name, _ in load_network("fast").named_children()]
    status = run_training(monkeypatch, out, freeze=parts)
    check_refusal(status, capsys, "leaves nothing to train")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_made_is_reported_in_one_line(
    workers: int,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = run_training(monkeypatch, out, size=1024, workers=workers)
    check_refusal(status, capsys, "found no photograph of at least 1024x1024; try smaller crops")


def test_training_that_diverges_stops_before_it_saves_anything_useless(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_training(monkeypatch, out, steps=4, rate=1e30, save_every=4)
    check_refusal(status, capsys, "found values that are not finite after step 1")
    assert not out.exists()
    assert not out.with_suffix(".state").exists()


@pytest.mark.parametrize("word", ["steps", "=3", "steps=["])
def test_an_invalid_setting_on_the_command_line_is_refused(
    word: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_training(monkeypatch, out, "--set", word)
    check_refusal(status, capsys, f"found --set {word}, expected")


@pytest.mark.parametrize(
    "damage", ["index", "field", "no tensors", "missing file", "short file", "other network"]
)
def test_a_damaged_state_is_refused_and_kept(
    damage: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_training(monkeypatch, out) == 0
    capsys.readouterr()
    state = out.with_suffix(".state")
    index = state / "state.json"
    content = json.loads(index.read_text())
    tensors = state / content["tensors"][0]
    match damage:
        case "index":
            index.write_text(index.read_text()[:20])
        case "field":
            index.write_text(json.dumps(content | {"more": 1}))
        case "no tensors":
            index.write_text(json.dumps(content | {"tensors": []}))
        case "missing file":
            tensors.unlink()
        case "short file":
            tensors.write_bytes(tensors.read_bytes()[:5000])
        case "other network":
            other = out.with_name("other.safetensors")
            assert run_training(monkeypatch, other, network={"blocks": 2}) == 0
            for file in other.with_suffix(".state").glob("*.safetensors"):
                (state / file.name).write_bytes(file.read_bytes())
            capsys.readouterr()
    kept = out.read_bytes(), index.read_bytes()
    check_refusal(run_training(monkeypatch, out), capsys, f"found a state in {state}")
    assert (out.read_bytes(), index.read_bytes()) == kept


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("picture.jpg", "expected a name that ends with .safetensors"),
        ("config.yaml", "expected a name that ends with .safetensors"),
        ("folder.safetensors", "expected a file"),
        ("picture.jpg/weights.safetensors", "expected a folder"),
    ],
)
def test_an_output_that_is_something_else_is_refused(
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "run" / "picture.jpg"
    picture.parent.mkdir()
    picture.write_bytes((DATA / "kodak_21.jpg").read_bytes())
    (picture.parent / "folder.safetensors").mkdir()
    out = picture.parent / name
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    words = ["train", str(config), "--data", str(picture.parent), "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    check_refusal(ended.value.code, capsys, message)
    assert picture.read_bytes() == (DATA / "kodak_21.jpg").read_bytes()


@pytest.mark.parametrize("validation", [{}, {"every": 1, "pairs": 1, "size": 64}])
def test_deleted_weights_are_written_again(
    validation: dict[str, int], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = {"validation": validation | {"sources": [PHOTOGRAPH]}} if validation else {}
    assert run_training(monkeypatch, out, **held_out) == 0
    out.unlink()
    assert run_training(monkeypatch, out, **held_out) == 0
    assert load_network(str(out)).multiple == 32
    assert [path.name for path in out.parent.glob("*.safetensors")] == [out.name]
