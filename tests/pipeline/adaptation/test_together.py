"""A batch of one camera that adapts once, and tries the weights on all other inputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crossnetpp.checkpoint import AdaptedFacts, find_weights, load_network, save_weights
from crossnetpp.machine import is_linux
from pipeline.adaptation.request import AdaptRequest, take_request
from pipeline.adaptation.shared import SharedWeights
from pipeline.adaptation.training import PRESET
from pipeline.ledger.adapted_weights import store_adapted_weights
from pipeline.ledger.ledger import Ledger
from pipeline.paths import sha256
from pipeline.planning.plan import make_plan
from pipeline.progress import SilentReporter
from pipeline.runs.adapting import complete_adaptation
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import RunSettings
from tests.support.camera import write_camera
from tests.support.commands import invoke
from tests.support.killed_command import run_until

OPTIONS = ("--engine", "torch", "--segment", "0.4", "--preset", "ultrafast", "-q", "--json")
TOGETHER = ("--adapt-together", "--adapt", "0.01")


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    lr, keys, _ = write_camera(tmp_path_factory.mktemp("camera"))
    return lr, keys


def words(camera: tuple[Path, Path], folder: Path, *more: object) -> list[object]:
    """Return the words of a batch of two equal recordings."""
    for name in ("a.mkv", "b.mkv"):
        shutil.copy(camera[0], folder / name)
    runner = more if "--runner" in more else ("--runner", "inline", *more)
    listed = folder / "list.csv"
    listed.write_text("input,output\na.mkv,a_x4.mkv\nb.mkv,b_x4.mkv\n")
    return ["run", "--manifest", listed, "--ref-stream", camera[1], *OPTIONS, *TOGETHER, *runner]


def run(camera: tuple[Path, Path], folder: Path, *more: object) -> list[dict[str, Any]]:
    done = invoke(*words(camera, folder, *more))
    assert done.exit_code == 0, done.stderr + done.stdout
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return [item["result"] for item in items]


def digests(folder: Path) -> list[str]:
    return [sha256(folder / name) for name in ("a_x4.mkv", "b_x4.mkv")]


@pytest.fixture(scope="module")
def killed(camera: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a batch that was killed while it published the second input."""
    folder = tmp_path_factory.mktemp("killed")
    run_until("os.rename", "b_x4.plan.json", *words(camera, folder))
    return folder


def test_a_killed_batch_goes_on_with_the_weights_of_its_first_input(
    camera: tuple[Path, Path], killed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "resumed"
    shutil.copytree(killed, folder, symlinks=True)
    (stored,) = folder.glob("list.adapted-*.safetensors")
    made = sha256(stored)
    first, second = run(camera, folder)
    assert first["resumed_segments"] == first["segments"]
    assert digests(folder)[0] == digests(folder)[1]  # equal recordings with the same weights

    assert first["adapted"]["used"]
    assert second["adapted"]["used"]
    assert (first["adapted"]["shared"], second["adapted"]["shared"]) == (False, True)
    gain = first["adapted"]["held_out_gain_db"]
    assert second["adapted"]["held_out_gain_db"] == pytest.approx(gain, abs=0.01)

    trained, tried = (read_plan(folder / f"{name}_x4.plan.json").adaptation for name in "ab")
    assert trained is not None
    assert tried is not None
    assert trained.shared == ""
    assert trained.weights_sha256 == tried.weights_sha256 == tried.shared == made
    left = sorted(path.name for path in folder.iterdir() if path.suffix != ".mkv")
    assert left == ["a_x4.plan.json", "b_x4.plan.json", "list.csv"]


@pytest.mark.skipif(not is_linux(), reason="Ray runs on Linux only")
def test_a_batch_on_ray_gives_the_bits_of_one_in_this_process(
    camera: tuple[Path, Path], killed: Path, tmp_path: Path
) -> None:
    """The weights are there, as an unfinished batch left them."""
    (stored,) = killed.glob("list.adapted-*.safetensors")
    shutil.copy(stored, tmp_path)
    for result in run(camera, tmp_path, "--runner", "ray", "--workers", "1"):
        assert result["adapted"]["used"]
        assert result["adapted"]["shared"]
    expected = sha256(killed / "a_x4.mkv")
    assert digests(tmp_path) == [expected, expected]
    assert not list(tmp_path.glob("*.safetensors"))


def test_weights_that_do_not_win_are_not_used(camera: tuple[Path, Path], tmp_path: Path) -> None:
    """An unfinished batch left weights that change nothing, so they gain nothing."""
    base = find_weights("fast")
    facts = AdaptedFacts(base=sha256(base), steps=10, held_out_gain_db=0.3, blend=0.5)
    weights = tmp_path / "same.safetensors"
    save_weights(load_network("fast"), PRESET, weights, facts)
    SharedWeights(str(tmp_path / "list.adapted")).offer(weights, facts.base)
    assert len(list(tmp_path.glob("list.adapted-*"))) == 1

    for result in run(camera, tmp_path):
        assert result["adapted"]["used"] is False
        assert result["adapted"]["shared"] is True
        assert result["adapted"]["held_out_gain_db"] == 0
    page = tmp_path / "a.html"
    assert invoke("report", tmp_path / "a_x4.mkv", "-o", page).exit_code == 0
    sentence = "weights adapted to another input do not improve the key frames here"
    assert sentence in page.read_text(encoding="utf-8")


def test_shared_weights_are_those_of_the_same_base(tmp_path: Path) -> None:
    base = sha256(find_weights("fast"))
    facts = AdaptedFacts(base=base, steps=10, held_out_gain_db=0.3, blend=0.5)
    weights = tmp_path / "made.safetensors"
    save_weights(load_network("fast"), PRESET, weights, facts)
    shared = SharedWeights(str(tmp_path / "x.adapted"))
    assert shared.find(base) is None
    shared.offer(weights, base)
    found = shared.find(base)
    assert found is not None
    assert sha256(found) == sha256(weights)
    assert shared.find(sha256(find_weights("fast-recorded"))) is None

    first = found.read_bytes()
    other = tmp_path / "other.safetensors"
    save_weights(load_network("fast-recorded"), PRESET, other, facts)
    shared.offer(other, base)  # the first that wins stays
    assert found.read_bytes() == first

    found.write_bytes(first[:-10])
    assert shared.find(base) is None
    (tmp_path / "x.adapted-mine.safetensors").touch()
    shared.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "made.safetensors",
        "other.safetensors",
        "x.adapted-mine.safetensors",
    ]


def test_a_run_of_the_plan_of_a_batch_decides_again(
    camera: tuple[Path, Path], tmp_path: Path
) -> None:
    """The weights of the batch are gone then."""
    plan = make_plan(
        RunSettings(
            input=str(camera[0]), ref_stream=str(camera[1]), output=str(tmp_path / "out.mkv")
        )
    )
    shared = Adaptation(
        request="seconds", seconds=30, steps=10, shared="0" * 64, done=True, used=True
    )
    for adaptation, kept in ((shared, None), (shared.model_copy(update={"shared": ""}), 10)):
        stored = plan.model_copy(update={"adaptation": adaptation})
        taken = take_request(stored, AdaptRequest("auto"), None)
        assert (taken.request.kind, taken.request.seconds) == ("seconds", 30)
        assert (taken.plan.adaptation and taken.plan.adaptation.steps) == kept


@pytest.mark.parametrize("place", ["none/x.adapted", "nowhere://bucket/x.adapted"])
def test_weights_that_cannot_be_stored_do_not_fail_their_input(
    camera: tuple[Path, Path], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan(
        RunSettings(
            input=str(camera[0]), ref_stream=str(camera[1]), output=str(tmp_path / "out.mkv")
        )
    )
    base = find_weights("fast")
    facts = AdaptedFacts(base=sha256(base), steps=10, held_out_gain_db=0.3, blend=0.5)
    done = Adaptation(request="auto", steps=10, done=True, used=True)
    notes = Notes()
    with Ledger(plan.model_copy(update={"adaptation": done})) as ledger:
        digest = store_adapted_weights(
            ledger.folder, lambda path: save_weights(load_network("fast"), PRESET, path, facts)
        )
        stored = done.model_copy(update={"weights_sha256": digest})
        ledger.replace_plan(plan.model_copy(update={"adaptation": stored}))
        complete_adaptation(ledger, notes, SharedWeights(place))
        ledger.remove_run_folder()
    assert len(notes.texts) == 1
    assert notes.texts[0].startswith("the adapted weights cannot be shared: ")


class Notes(SilentReporter):
    """A reporter that keeps the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        """Keep the text."""
        self.texts.append(text)
