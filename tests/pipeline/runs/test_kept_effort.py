"""A resumed run keeps the decision about mixing, and its notes describe the kept decision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.ledger.ledger import Ledger
from pipeline.progress import SilentReporter
from pipeline.runs.conductor import RunRequest, prepare_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade
from pipeline.tools.demo import SAMPLE

MIXED = "the network's frames are mixed with those of optical flow"


class Listener(SilentReporter):
    """A reporter that collects the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a quarter of the sample, without loss, and every fourth frame of the sample."""
    folder = tmp_path_factory.mktemp("kept_effort")
    degrade(str(SAMPLE), folder / "lr.mkv", scale=4)
    degrade(str(SAMPLE), folder / "keys.mkv", scale=1, every=4)
    return folder / "lr.mkv", folder / "keys.mkv"


@pytest.mark.parametrize(
    ("begun_on", "effort", "resumed_on", "mixes"),
    [
        ("cpu", "normal", "cpu", False),
        ("cpu", "auto", "cuda", True),
        ("cuda", "auto", "cpu", False),
        ("cpu", "auto", "cpu", True),
    ],
)
def test_the_notes_of_a_resumed_run_describe_the_mixing_that_it_keeps(
    recordings: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun_on: str,
    effort: str,
    resumed_on: str,
    mixes: bool,
) -> None:
    listener = Listener()

    def plan_on(device: str, effort: str) -> Plan:
        monkeypatch.setattr("deploy.device.choose_device", lambda: torch.device(device))
        values = {
            "input": str(recordings[0]),
            "ref_stream": str(recordings[1]),
            "output": str(tmp_path / "out.mkv"),
            "engine": "torch",
            "end": "0.6",
            "adapt": "off",
            "effort": effort,
        }
        listener.notes.clear()
        request = RunRequest(RunSettings.model_validate(values), listener)
        return prepare_plan(request, "inline")

    begun = plan_on(begun_on, effort)
    with Ledger(begun):
        resumed = plan_on(resumed_on, "auto")
    assert resumed.digest() == begun.digest()
    assert resumed.mixes_flow == mixes
    assert any(note.startswith(MIXED) for note in resumed.notes) == mixes
    assert any(note.startswith(MIXED) for note in listener.notes) == mixes


def test_a_run_that_does_not_resume_keeps_its_own_notes(
    recordings: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.device.choose_device", lambda: torch.device("cpu"))
    settings = RunSettings(
        input=str(recordings[0]),
        ref_stream=str(recordings[1]),
        output=str(tmp_path / "out.mkv"),
        engine="torch",
        end="0.6",
        adapt="off",
        effort="normal",
    )
    begun = prepare_plan(RunRequest(settings, SilentReporter()), "inline")
    other = settings.model_copy(update={"effort": "auto", "batch": begun.batch + 1})
    with Ledger(begun):
        plan = prepare_plan(RunRequest(other, SilentReporter()), "inline")
    assert plan.mixes_flow
    assert any(note.startswith(MIXED) for note in plan.notes)
