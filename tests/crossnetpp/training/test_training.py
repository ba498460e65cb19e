"""Training: falling loss on real data, exact resumption, and selection of the best weights."""

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

from crossnetpp.checkpoint import WEIGHTS_FOLDER, load_network, save_weights
from crossnetpp.data.degradation import degrade_tensor
from crossnetpp.data.mixture import Sample
from crossnetpp.data.photographs import Photographs
from crossnetpp.landmarks import NO_MATCHES
from crossnetpp.losses import LossWeights, hybrid_loss
from crossnetpp.networks.build import build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.train import train
from crossnetpp.training.config import ConfigError, SourceConfig, TrainingConfig, load_config
from crossnetpp.training.loop import Trainer, TrainingData, learning_rate
from crossnetpp.training.parallel import join_processes
from crossnetpp.training.sources import open_source
from crossnetpp.training.validation import Validation, ValidationResult
from tests.support import ROOT

DATA = ROOT / "tests" / "data"
PHOTOGRAPH = {"kind": "photographs", "files": ["kodak_21.jpg"]}


def make_config(**changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "steps": 6,
        "batch": 2,
        "size": 64,
        "workers": 0,
        "save_every": 2,
        "log_every": 1,
    }
    settings |= {"sources": [PHOTOGRAPH], "warm_up": 2}
    return TrainingConfig.model_validate(settings | changes)


class PhotographSamples(Dataset[Sample]):
    """Samples of a real photograph; sample k is always the same."""

    def __init__(self) -> None:
        self.photographs = Photographs([DATA / "kodak_21.jpg"])

    def __getitem__(self, index: int) -> Sample:
        pair = self.photographs.draw(np.random.default_rng(index), 64, 0.2)
        assert pair.flow is not None
        target, reference = (
            torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255)
            for image in (pair.target, pair.reference)
        )
        flow = torch.from_numpy(pair.flow).permute(2, 0, 1)
        return Sample(target, reference, flow, NO_MATCHES.pad())


def make_trainer(out: Path, validator: Validation | None = None, **changes: Any) -> Trainer:
    with join_processes() as process:
        data = TrainingData(PhotographSamples(), validator)
        return Trainer(make_config(**changes), data, out, process)


def measure_loss(run: Trainer, samples: range) -> float:
    """Return the mean hybrid loss over fixed samples at x4."""
    total = 0.0
    with torch.no_grad():
        for number in samples:
            target, reference, flow = (part[None] for part in run._samples[number][:3])
            output = run.network(degrade_tensor(target, 4), reference)
            total += float(hybrid_loss(output, target, flow, LossWeights())["total"])
    return total / len(samples)


def load_tensors(out: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of all files of a state."""
    files = sorted(out.with_suffix(".state").glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.soak
def test_two_hundred_steps_on_a_real_photograph_lower_the_loss(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    run = make_trainer(out, steps=200, batch=1, rate=1e-3, scales=[4], log_every=50, save_every=200)
    before = measure_loss(run, range(16))
    assert len(run.run()) == 200
    assert measure_loss(run, range(16)) < 0.9 * before
    assert load_network(str(out)).multiple == 32


def test_a_resumed_run_has_the_losses_and_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    expected = make_trainer(whole).run()
    got = make_trainer(parts).run(stop_after=3)
    again = make_trainer(parts)
    assert again.progress.step == 3
    got += again.run()
    assert got == expected
    states = [load_tensors(out) for out in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    lines = [out.with_suffix(".log.jsonl").read_text() for out in (whole, parts)]
    assert lines[0] == lines[1]
    assert [json.loads(line)["step"] for line in lines[0].splitlines()] == [1, 2, 3, 4, 5, 6]


def test_the_journal_reports_the_means_since_its_last_report(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    losses = make_trainer(out, log_every=3).run()
    lines = [json.loads(line) for line in out.with_suffix(".log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    expected = [np.mean(losses[:3]), np.mean(losses[3:])]
    assert [line["total"] for line in lines] == pytest.approx(expected)


def test_a_run_interrupted_between_two_saves_resumes_from_the_last_save(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    expected = make_trainer(tmp_path / "whole.safetensors").run()
    first = make_trainer(out)
    steps = 0

    def fail(_: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt

    first._update_average = fail  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make_trainer(out)
    assert second.progress.step == 2
    # The broken run did not update its average, on which losses do not depend
    assert second.run() == expected[2:]


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    make_trainer(out).run(stop_after=2)
    with pytest.raises(ConfigError, match="another configuration"):
        make_trainer(out, rate=1e-5)
    # How often a run logs does not change its numbers
    assert make_trainer(out, log_every=5).progress.step == 2


def test_the_average_is_the_exponential_mean_of_the_weights(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "weights.safetensors", average=0.5)
    name = "fusion.leave.bias"
    expected = run.network.get_parameter(name).detach().clone().double()
    for step in range(4):
        run._step_on_samples(run.network, default_collate([run._samples[step]]), step)
        decay = min(0.5, (1 + step) / (10 + step))
        now = run.network.get_parameter(name).detach().double()
        expected = decay * expected + (1 - decay) * now
    torch.testing.assert_close(run.average.get_parameter(name).double(), expected)


def test_only_weights_that_validate_better_are_saved(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    settings = make_config(validation={"every": 2, "pairs": 2, "size": 192}).validation
    validation = Validation(settings, [(1.0, Photographs([DATA / "kodak_21.jpg"]))])
    real = validation.measure(load_network("fast"), torch.device("cpu"))
    assert real.gain > 0.5
    gains = iter((2.0, 1.0, 3.0))
    times = []

    def measure(*_: Any) -> ValidationResult:
        times.append(out.stat().st_mtime_ns if out.is_file() else 0)
        return replace(real, gain=next(gains))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "measure", measure)
        run = make_trainer(out, validation, validation={"every": 2})
        run.run()
    last = out.stat().st_mtime_ns
    assert times[0] == 0
    assert times[1] == times[2] > 0
    assert last > times[2]
    assert run.progress.best == 3.0


def test_options_of_the_network_are_trained_and_saved(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    make_trainer(out, steps=1, network={"stages": 1}).run()
    network = load_network(str(out))
    assert isinstance(network, CrossNetFast)
    assert network.stage2 is None
    with pytest.raises(
        ValueError,
        match=r"found width in `network`.*only arbitration, blocks, chroma, lr_smoothing, "
        r"lr_steps, settl",
    ):
        make_config(start="fast", network={"width": 48})


def test_frozen_parts_do_not_change(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "weights.safetensors", steps=2, freeze=["encoder", "stage1"])
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    run.run()
    moved = {
        name.split(".")[0]
        for name, p in run.network.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved == {"stage2", "refinement", "balance", "fusion"}
    with pytest.raises(
        ConfigError, match="found freeze: flow9, expected parts of the network: encoder, stage1"
    ):
        make_trainer(tmp_path / "weights.safetensors", freeze=["flow9"])


def test_landmarks_are_cached_and_their_loss_is_part_of_the_total(tmp_path: Path) -> None:
    def losses(**loss: float) -> list[float]:
        config = make_config(size=128, steps=2, batch=1, loss=loss, curriculum_start=1.0)
        out = tmp_path / str(len(loss)) / "weights.safetensors"
        return train(config, DATA, out)

    without_landmarks = losses(flow=0.0)
    with_landmarks = losses(flow=0.0, landmark=1.0)
    cached = sorted((tmp_path / "2" / "weights.landmarks").iterdir())
    assert len(cached) == 2
    assert not (tmp_path / "1" / "weights.landmarks").exists()
    assert max(b - a for a, b in zip(without_landmarks, with_landmarks, strict=True)) > 0.01


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = make_config(steps=1000, warm_up=100, rate=1.0)
    rates = [learning_rate(config, step) for step in (0, 99, 500, 999)]
    assert rates[0] == pytest.approx(0.01, abs=1e-3)
    assert rates[1] > 0.95
    assert rates[2] == pytest.approx(0.505, abs=1e-3)
    assert rates[3] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 5\nsources: []\nlearning: 3\n", "learning"),
        ("steps: 0\nsources: []\n", "steps"),
        ("steps: 5\nsize: 100\nsources: []\n", "size"),
        ("steps: 5\npreset: huge\nsources: []\n", "expected one of .*fast"),
        ("steps: 5\nnetwork: {stagez: 1}\nsources: []\n", "stagez"),
        ("steps: 5\nnetwork: {stages: 9}\nsources: []\n", "stages"),
        ("- 1\n", "expected lines such as"),
        ("steps: [1\n", "expected YAML of plain values"),
    ],
)
def test_an_invalid_configuration_is_reported_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(str(path))
    assert "\n" not in str(error.value)


def test_shipped_configurations_load_and_can_be_overridden() -> None:
    assert load_config("fast").steps > 1000
    assert load_config("fast", {"steps": 3}).steps == 3
    with pytest.raises(ConfigError, match=r"expected a readable YAML file or .*fast"):
        load_config("warp9")


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("fast-recorded", "fast"),
        ("fast-quick", "fast"),
        ("fast-recorded-settle", "searched.safetensors"),
        ("fast-recorded-search", "settled.safetensors"),
        ("fast-recorded-quick", "recorded.safetensors"),
        ("fast-recorded-quick-settle", "mixed.safetensors"),
    ],
)
def test_the_shipped_recipes_are_those_of_the_logs(model: str, start: str) -> None:
    config = load_config(model.replace("-", "_"))
    log = (WEIGHTS_FOLDER / f"{model}.log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    rates = {line["step"]: line["rate"] for line in lines if "rate" in line}
    assert config.start == start
    assert max(rates) == config.steps
    expected = {step: learning_rate(config, step - 1) for step in rates}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("start", "network", "message"),
    [
        (
            "none.safetensors",
            {},
            "start: none.safetensors, whose weights cannot be used: found no m",
        ),
        ("SOURCES.md", {}, "whose weights cannot be used: found no readable safetensors file"),
        ("wide", {}, "expected weights for the network 'fast'"),
        ("fast-recorded", {"votes": 8}, r"whose weights do not fit `network` \(votes: 8\)"),
        ("fast-recorded", {"chroma": False}, r"whose weights do not fit `network` \(chroma: F"),
    ],
)
def test_weights_that_no_run_can_start_from_are_reported_in_one_line(
    tmp_path: Path, start: str, network: dict[str, Any], message: str
) -> None:
    if start == "SOURCES.md":
        start = str(DATA / start)
    if start == "wide":
        start = str(tmp_path / "paper.safetensors")
        save_weights(build_network("crossnet"), "crossnet", Path(start))
    with pytest.raises(ConfigError, match=message) as error:
        make_trainer(tmp_path / "weights.safetensors", start=start, network=network)
    assert "\n" not in str(error.value)


def test_parts_that_weights_lack_are_added_to_them(tmp_path: Path) -> None:
    plain = build_network("fast")
    save_weights(plain, "fast", tmp_path / "plain.safetensors")
    added = {"votes": 8, "chroma": True}
    start = str(tmp_path / "plain.safetensors")
    run = make_trainer(tmp_path / "weights.safetensors", start=start, network=added)
    before = load_network(start).state_dict()
    after = run.network.state_dict()
    assert torch.equal(after["encoder.level4.0.0.weight"], before["encoder.level4.0.0.weight"])
    assert after["fusion.leave.bias"].shape == (16 * 7,)
    assert torch.equal(after["fusion.leave.bias"][:80], before["fusion.leave.bias"])
    assert any(name.startswith("votes.body") for name in after)


def test_parts_can_be_left_out_of_weights(tmp_path: Path) -> None:
    changes = {"stages": 1, "blocks": 2, "settlings": 1}
    run = make_trainer(tmp_path / "weights.safetensors", start="fast", network=changes)
    before = load_network("fast").state_dict()
    after = run.network.state_dict()
    assert not any(name.startswith("stage2") for name in after)
    kept = {"fusion.blocks.0": "fusion.blocks.0", "fusion.blocks.1": "fusion.blocks.3"}
    for new, old in kept.items():
        assert torch.equal(after[f"{new}.1.weight"], before[f"{old}.1.weight"])
    assert "fusion.blocks.2.1.weight" not in after
    assert torch.equal(after["stage1.head8.flow.weight"], before["stage1.head8.flow.weight"])


def test_two_hdf5_files_in_one_source_are_refused(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"found 2 files for hdf5 in .*expected one"):
        open_source(tmp_path, SourceConfig(kind="hdf5", files=("*.h5",)))


def test_missing_data_is_reported_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossnetpp.train", "fast", "--data", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "w.safetensors")], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "set --data to a folder" in ended.stderr


@pytest.mark.parametrize("network", [{}, {"votes": 8}])
def test_two_processes_train_as_one(tmp_path: Path, network: dict[str, int]) -> None:
    """Compare the losses of two gloo processes under torchrun with those of one process.

    Steps with a single reference do not use the votes.
    """
    config = tmp_path / "config.yaml"
    settings = make_config(steps=2, fault_rate=0.0, network=network)
    config.write_text(settings.model_dump_json())  # JSON is YAML
    losses = {}
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
        losses[count] = [json.loads(line)["sr"] for line in lines]
    assert losses[2] == pytest.approx(losses[1], rel=2e-3)
