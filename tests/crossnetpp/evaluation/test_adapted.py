"""Methods that adapt their network to each recording."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossnetpp.adaptation.adapt import AdaptationSettings, adapt
from crossnetpp.adaptation.key_frames import KeyFrame
from crossnetpp.checkpoint import WEIGHTS_FOLDER, load_network, save_weights
from crossnetpp.data.recorder import CAPTURES, record_clip
from crossnetpp.data.sample import read_rgb
from crossnetpp.evaluation.adapted import AdaptedNetwork
from crossnetpp.evaluation.choose_methods import load_methods
from crossnetpp.evaluation.data_folder import Sampling
from crossnetpp.evaluation.recordings import make_recorded_cases
from crossnetpp.evaluation.scenes import Case, EvaluationError, Material, Picture
from crossnetpp.networks.fast import CrossNetFast
from tests.support import DATA

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case() -> Case:
    """A frame of a pan over a photograph, with five key frames."""
    photograph = read_rgb(DATA / "kodak_21.jpg")
    frames: list[Picture] = [
        np.ascontiguousarray(photograph[200:328, 100 + 4 * i : 260 + 4 * i]) for i in range(61)
    ]
    recorded = record_clip(frames, 4, CAPTURES["sensor"])
    return make_recorded_cases(frames, recorded, Sampling(positions=(7,)))[0]


def test_a_network_is_adapted_to_the_key_frames_of_the_recording(
    case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("crossnetpp.evaluation.adapted.STEPS", 3)
    method = AdaptedNetwork("adapted", "fast", CPU)
    taps = case.material.taps
    assert taps is not None
    notable = method.prepare(case.material, taps)

    network = load_network("fast")
    assert isinstance(network, CrossNetFast)
    network.to(memory_format=torch.channels_last)
    keys = [KeyFrame(m.lr, m.hr, m.number) for m in case.material.moments]
    threads = torch.get_num_threads()
    expected = adapt(network, keys, taps, AdaptationSettings(steps=3, threads=threads))
    assert f"3 steps, blend {expected.blend:g}" in notable
    assert f"{expected.held_out_gain_db:+.2f} dB" in notable

    path = tmp_path / "adapted.safetensors"
    save_weights(expected.network, "fast", path)
    plain, _ = load_methods([str(path)], CPU)
    plain[1].prepare(case.material, taps)
    made, other = (m.enhance(case.lr, case.references, taps).sr for m in (method, plain[1]))
    # The file has 16 bits
    assert np.abs(made.astype(int) - other).max() <= 1


def test_the_digest_of_weights_that_suit_the_recording_is_recorded(case: Case) -> None:
    method = load_methods(["fast"], CPU)[0][1]
    assert method.prepare(Material(4, case.material.moments), None) == ""

    blocks = np.random.default_rng(0).integers(-9, 10, (128 // 4, 160 // 4, 3))
    noisy = tuple(
        replace(moment, lr=np.asarray((moment.lr + blocks).clip(0, 255), np.uint8))
        for moment in case.material.moments
    )
    content = (WEIGHTS_FOLDER / "fast-recorded.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    notable = method.prepare(Material(4, noisy), None)
    assert notable == f"weights fast-recorded, sha256 {digest[:16]}"


def test_too_few_key_frames_leave_the_weights_as_they_are(case: Case) -> None:
    few = type(case.material)(4, case.material.moments[:2])
    method = AdaptedNetwork("adapted", "fast", CPU)
    assert method.prepare(few, None).startswith("not adapted: found 2 key frames")
    plain, _ = load_methods(["fast"], CPU)
    made, other = (m.enhance(case.lr, case.references, None).sr for m in (method, plain[1]))
    assert np.array_equal(made, other)


def test_networks_and_files_can_be_adapted_but_not_classical_methods() -> None:
    methods, _ = load_methods(["adapted", "fast:adapted", "b=fast:adapted+1ref"], CPU)
    assert [method.name for method in methods[1:]] == ["adapted", "fast:adapted", "b"]
    assert isinstance(methods[1], AdaptedNetwork)
    assert "with the nearest reference alone" in methods[3].about.what
    with pytest.raises(EvaluationError, match="found the option 'adapted' in 'classical:adapted'"):
        load_methods(["classical:adapted"], CPU)
