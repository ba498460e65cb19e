"""Training: the loss falls on real data, runs resume exactly, the best weights are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset, default_collate

from crossnetpp.checkpoint import load_network
from crossnetpp.data.degradation import degrade_tensor
from crossnetpp.data.mixture import Drawn
from crossnetpp.data.photographs import Photographs
from crossnetpp.landmarks import NO_MATCHES
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.train import train
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config
from crossnetpp.training.loop import Trainer, learning_rate
from crossnetpp.training.parallel import processes
from crossnetpp.training.validation import Judged, Validation
from tests.support import ROOT

DATA = ROOT / "tests" / "data"
PHOTOGRAPH = {"kind": "photographs", "files": ["kodak_21.jpg"]}


def configuration(**changes: Any) -> TrainingConfig:
    given = {"steps": 6, "batch": 2, "size": 64, "workers": 0, "save_every": 2, "log_every": 1}
    given |= {"sources": [PHOTOGRAPH], "warm_up": 2}
    return TrainingConfig.model_validate(given | changes)


class Drawing(Dataset[Drawn]):
    """Pairs of a real photograph; sample k is the same whenever it is asked for."""

    def __init__(self) -> None:
        self.photographs = Photographs([DATA / "kodak_21.jpg"])

    def __getitem__(self, index: int) -> Drawn:
        pair = self.photographs.draw(np.random.default_rng(index), 64, 0.2)
        assert pair.flow is not None
        target, reference = (
            torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255)
            for image in (pair.target, pair.reference)
        )
        flow = torch.from_numpy(pair.flow).permute(2, 0, 1)
        return Drawn(target, reference, flow, NO_MATCHES.padded())


def trainer(out: Path, judged_by: Validation | None = None, **changes: Any) -> Trainer:
    with processes() as process:
        return Trainer(configuration(**changes), Drawing(), judged_by, out, process)


def mean_loss(run: Trainer, samples: range) -> float:
    """Return the mean hybrid loss over fixed samples at x4."""
    total = 0.0
    with torch.no_grad():
        for number in samples:
            target, reference, flow = (part[None] for part in run._samples[number][:3])
            output = run.network(degrade_tensor(target, 4), reference)
            total += float(hybrid_loss(output, target, flow, LossWeights())["total"])
    return total / len(samples)


def test_two_hundred_steps_on_a_real_photograph_lower_the_loss(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    run = trainer(out, steps=200, batch=1, rate=1e-3, scales=[4], log_every=50, save_every=200)
    before = mean_loss(run, range(16))
    assert len(run.run()) == 200
    assert mean_loss(run, range(16)) < 0.9 * before
    assert load_network(str(out)).multiple == 32


def test_a_resumed_run_has_the_losses_and_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    expected = trainer(whole).run()
    got = trainer(parts).run(stop_after=3)
    again = trainer(parts)
    assert again.progress.step == 3
    got += again.run()
    assert got == expected
    states = [
        load_file(next(out.with_suffix(".state").glob("*.safetensors"))) for out in (whole, parts)
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    lines = [out.with_suffix(".log.jsonl").read_text() for out in (whole, parts)]
    assert lines[0] == lines[1]
    assert [json.loads(line)["step"] for line in lines[0].splitlines()] == [1, 2, 3, 4, 5, 6]


def test_the_journal_tells_the_means_since_its_last_report(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    losses = trainer(out, log_every=3).run()
    lines = [json.loads(line) for line in out.with_suffix(".log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    expected = [np.mean(losses[:3]), np.mean(losses[3:])]
    assert [line["total"] for line in lines] == pytest.approx(expected)


def test_a_run_interrupted_between_two_saves_goes_back_to_the_last(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    expected = trainer(tmp_path / "whole.safetensors").run()
    first = trainer(out)
    steps = 0

    def fail(_: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt

    first._follow = fail  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = trainer(out)
    assert second.progress.step == 2
    # the average was not followed in the broken run: losses do not depend on it
    assert second.run() == expected[2:]


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    trainer(out).run(stop_after=2)
    with pytest.raises(ConfigError, match="another configuration"):
        trainer(out, rate=1e-5)
    # how often a run looks does not change its numbers
    assert trainer(out, log_every=5).progress.step == 2


def test_the_average_is_the_exponential_mean_of_the_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path / "weights.safetensors", average=0.5)
    name = "fusion.leave.bias"
    expected = run.network.get_parameter(name).detach().clone().double()
    for step in range(4):
        run._step(run.network, default_collate([run._samples[step]]), step)
        decay = min(0.5, (1 + step) / (10 + step))
        now = run.network.get_parameter(name).detach().double()
        expected = decay * expected + (1 - decay) * now
    torch.testing.assert_close(run.average.get_parameter(name).double(), expected)


def test_only_weights_that_validate_better_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    settings = configuration(validation={"every": 2, "pairs": 2, "size": 192}).validation
    validation = Validation(settings, [(1.0, Photographs([DATA / "kodak_21.jpg"]))])
    real = validation.judge(load_network("fast"), torch.device("cpu"))
    assert real.gain > 0.5
    gains = iter((2.0, 1.0, 3.0))
    sizes = []

    def judge(*_: Any) -> Judged:
        sizes.append(out.stat().st_mtime_ns if out.is_file() else 0)
        return replace(real, gain=next(gains))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "judge", judge)
        run = trainer(out, validation, validation={"every": 2})
        run.run()
    kept = out.stat().st_mtime_ns
    assert sizes[0] == 0
    assert sizes[1] == sizes[2] > 0
    assert kept > sizes[2]
    assert run.progress.best == 3.0


def test_options_of_the_network_are_trained_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    trainer(out, steps=1, network={"stages": 1}).run()
    network = load_network(str(out))
    assert isinstance(network, CrossNetFast)
    assert network.stage2 is None
    with pytest.raises(ValueError, match="expected one of the two"):
        configuration(start="fast", network={"stages": 1})


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    run = trainer(tmp_path / "weights.safetensors", steps=2, freeze=["encoder", "stage1"])
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    run.run()
    moved = {
        name.split(".")[0]
        for name, p in run.network.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved == {"stage2", "refinement", "balance", "fusion"}
    with pytest.raises(ConfigError, match="found freeze: flow9, expected some of encoder, stage1"):
        trainer(tmp_path / "weights.safetensors", freeze=["flow9"])


def test_landmarks_are_found_once_and_their_loss_is_in_the_sum(tmp_path: Path) -> None:
    def losses(**loss: float) -> list[float]:
        config = configuration(size=128, steps=2, batch=1, loss=loss, curriculum_start=1.0)
        out = tmp_path / str(len(loss)) / "weights.safetensors"
        trained = train(config, DATA, out)
        return trained

    without, with_landmarks = losses(flow=0.0), losses(flow=0.0, landmark=1.0)
    kept = sorted((tmp_path / "2" / "weights.landmarks").iterdir())
    assert len(kept) == 2
    assert not (tmp_path / "1" / "weights.landmarks").exists()
    assert max(b - a for a, b in zip(without, with_landmarks, strict=True)) > 0.01


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = configuration(steps=1000, warm_up=100, rate=1.0)
    rates = [learning_rate(config, step) for step in (0, 99, 500, 999)]
    assert rates[0] == pytest.approx(0.01, abs=1e-3)
    assert rates[1] > 0.95
    assert rates[2] == pytest.approx(0.505, abs=1e-3)
    assert rates[3] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: 5\nsources: []\nlearning: 3\n", "learning"),
        ("steps: 0\nsources: []\n", "steps"),
        ("steps: 5\nsize: 100\nsources: []\n", "size"),
        ("- 1\n", "expected lines such as"),
        ("steps: [1\n", "no YAML"),
    ],
)
def test_a_broken_configuration_is_named_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_config(str(path))
    assert "\n" not in str(error.value)


def test_shipped_configurations_load_and_overrides_win() -> None:
    assert load_config("fast").steps > 1000
    assert load_config("fast", {"steps": 3}).steps == 3
    with pytest.raises(ConfigError, match=r"expected a file or .*fast"):
        load_config("warp9")


def test_missing_data_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossnetpp.train", "fast", "--data", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "w.safetensors")], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "give the data with --data" in ended.stderr


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Real gloo processes under torchrun see the samples that one process sees."""
    config = tmp_path / "config.yaml"
    config.write_text(configuration(steps=2, fault_rate=0.0).model_dump_json())  # JSON is YAML
    found = {}
    for count in (1, 2):
        out = tmp_path / f"of_{count}.safetensors"
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
        command += ["--standalone", "-m", "crossnetpp.train", str(config)]
        ended = subprocess.run(
            [*command, "--data", str(DATA), "--out", str(out)],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        lines = out.with_suffix(".log.jsonl").read_text().splitlines()
        found[count] = [json.loads(line)["sr"] for line in lines]
    assert found[2] == pytest.approx(found[1], rel=2e-3)
