"""Training samples from clips that a real encoder recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crossnetpp.data.recorded_clips import RecordedBatch, RecordedClips
from crossnetpp.data.sample import DataError
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.train import train
from crossnetpp.training.config import TrainingConfig

CLIP = Path(__file__).parents[3] / "pipeline" / "samples" / "monster.mp4"


@pytest.fixture(scope="module")
def clips() -> RecordedClips:
    return RecordedClips([CLIP], ["sensor", "recorded"], [4, 2], frames=31)


def _draw(clips: RecordedClips, seed: int) -> RecordedBatch:
    return clips.draw(np.random.default_rng(seed), 2, 64)


def test_lr_is_the_target_reduced_by_the_taps(clips: RecordedClips) -> None:
    errors = []
    for seed in range(12):
        batch = _draw(clips, seed)
        scale = batch.target.shape[-1] // batch.lr.shape[-1]
        assert batch.target.shape == (2, 3, 64, 64)
        assert all(reference.shape == (2, 3, 64, 64) for reference in batch.references)
        assert batch.weights.shape == (2, len(batch.references))
        reduced = reduce_antialiased(batch.target, scale, batch.taps)
        errors.append(float((reduced - batch.lr).abs().mean()))
    # rounding alone for the sensor, and the codec's loss for recordings
    assert min(errors) < 0.5 / 255
    assert 0.5 / 255 < max(errors) < 6 / 255


def test_samples_have_one_or_two_references_the_nearest_first(clips: RecordedClips) -> None:
    counts = set()
    for seed in range(12):
        batch = _draw(clips, seed)
        counts.add(len(batch.references))
        if len(batch.references) == 2:
            assert torch.all(batch.weights[:, 0] == 1)
            assert torch.all(batch.weights[:, 1] < 1)
    assert counts == {1, 2}


def test_a_draw_depends_on_the_seed_alone(clips: RecordedClips) -> None:
    first, again, other = _draw(clips, 1), _draw(clips, 1), _draw(clips, 2)
    assert torch.equal(first.target, again.target)
    assert torch.equal(first.lr, again.lr)
    assert first.target.shape != other.target.shape or not torch.equal(first.target, other.target)


def test_a_share_of_the_references_is_faulty() -> None:
    whole = RecordedClips([CLIP], ["bicubic"], [4], frames=31)
    faulty = RecordedClips([CLIP], ["bicubic"], [4], frames=31, fault_rate=1.0)
    one, two = (_draw(each, 3).references for each in (whole, faulty))
    assert sum(not torch.equal(a, b) for a, b in zip(one, two, strict=True)) >= 1


def test_a_clip_without_two_key_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"with 9 readable frames, expected more than 15"):
        RecordedClips([CLIP], ["bicubic"], [4], frames=9)


def test_training_uses_recordings_and_resumes_with_the_same_numbers(tmp_path: Path) -> None:
    config = TrainingConfig.model_validate(
        {
            "start": "fast",
            "network": {"chroma": True},
            "steps": 4,
            "batch": 1,
            "size": 64,
            "area": 0.5,
            "workers": 0,
            "save_every": 1,
            "recordings": {
                "share": 0.6,
                "files": ["monster.mp4"],
                "captures": ["recorded"],
                "frames": 16,
            },
            "sources": [{"kind": "clips", "files": ["monster.mp4"]}],
            "validation": {
                "every": 4,
                "pairs": 1,
                "size": 64,
                "recordings": {"files": ["monster.mp4"], "captures": ["sensor"], "frames": 16},
            },
        }
    )
    data = CLIP.parent
    whole = train(config, data, tmp_path / "whole.safetensors")
    first = train(config, data, tmp_path / "parts.safetensors", stop_after=2)
    assert first + train(config, data, tmp_path / "parts.safetensors") == whole
    one, two = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == two
