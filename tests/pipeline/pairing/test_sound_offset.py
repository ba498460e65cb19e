"""Two cameras with sound are aligned by it; without, by the pictures of whole recordings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.read.probe import probe
from pipeline.media.read.sound import Loudness, read_loudness
from pipeline.pairing.offset import estimate_sound_offset
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from tests.support.recordings import settings_for, texture

RATE = 48000
SECONDS = 12.0


def make_scene(seed: int, seconds: float = SECONDS) -> NDArray[np.float32]:
    """Return a scene's sound: bursts of noise of different lengths and levels."""
    random = np.random.default_rng(seed)
    sound = random.normal(0, 0.003, round(seconds * RATE))
    at = 0.1
    while at < seconds - 0.5:
        length = random.uniform(0.05, 0.3)
        first, last = round(at * RATE), round((at + length) * RATE)
        decay = np.exp(-np.linspace(0, 4, last - first))
        sound[first:last] += random.uniform(0.05, 0.4) * decay * random.normal(0, 1, last - first)
        at += length + random.uniform(0.05, 0.6)
    return np.clip(sound, -1, 1).astype(np.float32)


def record(
    path: Path,
    sound: NDArray[np.float32] | None,
    first_frame: int,
    frames: int,
    size: tuple[int, int],
    *,
    still: bool = False,
) -> Path:
    """Write a pan at 25 frames per second that begins at a frame of the scene, with its sound."""
    with av.open(str(path), "w") as made:
        video = made.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        track = (
            made.add_stream("pcm_s16le", rate=RATE, layout="mono") if sound is not None else None
        )
        for number in range(frames):
            shown = 0 if still else number + first_frame
            picture = cv2.resize(texture(shown, 96, 128), size, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        if sound is not None and track is not None:
            heard = sound[first_frame * RATE // 25 :][: frames * RATE // 25]
            block = np.round(heard * 32000).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            samples.sample_rate, samples.pts = RATE, 0
            samples.time_base = Fraction(1, RATE)
            made.mux(track.encode(samples))
            made.mux(track.encode(None))
    return path


def plan_of(lr: Path, ref: Path, **changes: object) -> Plan:
    settings = settings_for((lr, ref), lr.with_name("out.mkv"), ref_offset="auto", **changes)
    return make_plan(settings)


def as_other_microphone(sound: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return the scene as a quieter microphone hears it, with an echo and its own noise."""
    random = np.random.default_rng(seed)
    echo = np.concatenate([np.zeros(RATE // 20, np.float32), sound])[: len(sound)]
    heard = 0.3 * sound + 0.1 * echo + random.normal(0, 0.002, len(sound))
    return np.asarray(heard, np.float32)


def test_sound_aligns_cameras_whose_pictures_do_not_move(tmp_path: Path) -> None:
    scene = make_scene(1)
    lr = record(tmp_path / "lr.mkv", scene, 0, 250, (64, 48), still=True)
    ref = record(
        tmp_path / "ref.mkv", as_other_microphone(scene, 2), 85, 150, (128, 96), still=True
    )
    plan = plan_of(lr, ref)
    assert plan.reference.offset == pytest.approx(3.4, abs=0.005)
    assert any("where the sound of both recordings matches" in note for note in plan.notes)


def test_a_short_part_is_aligned_like_the_whole(tmp_path: Path) -> None:
    scene = make_scene(3)
    lr = record(tmp_path / "lr.mkv", scene, 0, 250, (64, 48))
    ref = record(tmp_path / "ref.mkv", as_other_microphone(scene, 4), 10, 200, (128, 96))
    for end in (1.0, None):
        plan = plan_of(lr, ref, end=end)
        assert plan.reference.offset == pytest.approx(0.4, abs=0.005)


def test_without_sound_the_pictures_of_the_whole_input_are_used(tmp_path: Path) -> None:
    scene = make_scene(5)
    lr = record(tmp_path / "lr.mkv", None, 0, 150, (64, 48))
    ref = record(tmp_path / "ref.mkv", scene, 10, 120, (128, 96))
    whole = plan_of(lr, ref)
    part = plan_of(lr, ref, end=1.0)
    assert part.reference.offset == pytest.approx(whole.reference.offset, abs=1e-6)
    assert part.reference.offset == pytest.approx(0.4, abs=0.02)
    assert any("where the pictures of both recordings match" in note for note in part.notes)
    assert len(part.reference_map) == 25


def test_unrelated_sound_is_not_used(tmp_path: Path) -> None:
    lr = record(tmp_path / "lr.mkv", make_scene(6), 0, 150, (64, 48))
    ref = record(tmp_path / "ref.mkv", make_scene(7), 10, 120, (128, 96))
    plan = plan_of(lr, ref)
    assert plan.reference.offset == pytest.approx(0.4, abs=0.02)
    assert any("where the pictures of both recordings match" in note for note in plan.notes)


def test_sound_is_not_compared_unless_auto_is_requested(tmp_path: Path) -> None:
    scene = make_scene(8)
    lr = record(tmp_path / "lr.mkv", scene, 0, 50, (64, 48))
    ref = record(tmp_path / "ref.mkv", scene, 10, 40, (128, 96))
    settings = settings_for((lr, ref), tmp_path / "out.mkv")
    assert make_plan(settings).reference.offset == 0.0


def test_silent_rhythmic_and_short_sounds_are_not_trusted() -> None:
    silent = Loudness(0.0, [0.0] * 2000)
    beat = Loudness(0.0, ([0.2] + [0.0001] * 49) * 40)
    short = Loudness(0.0, [0.1, 0.0] * 50)
    random = np.random.default_rng(9)
    noise = [Loudness(0.0, list(random.uniform(0.01, 0.1, 1500))) for _ in range(2)]
    for pair in ((silent, silent), (silent, beat), (beat, beat), (short, short), tuple(noise)):
        assert estimate_sound_offset(*pair) is None


def test_a_long_recording_shows_the_drift() -> None:
    random = np.random.default_rng(10)
    scene = np.repeat(random.uniform(0, 1, 6000) ** 6, 5)  # 300 s
    at = np.arange(len(scene)) / 100
    stretched = np.interp(at * 1.0002 + 7.0, at, scene)[: 250 * 100]
    found = estimate_sound_offset(Loudness(0.0, list(scene)), Loudness(0.0, list(stretched)))
    assert found is not None
    assert found[0] == pytest.approx(7.0, abs=0.01)
    assert found[1] == pytest.approx(1.0002, abs=2e-5)


def test_loudness_follows_the_times_of_the_track(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", make_scene(11), 0, 100, (64, 48))
    whole = read_loudness(probe(str(path)))
    assert whole is not None
    assert whole.start == pytest.approx(0.0, abs=0.001)
    assert len(whole.levels) == pytest.approx(400, abs=2)

    confined = read_loudness(probe(str(path), sandbox=True))
    assert confined is not None
    assert confined.levels == pytest.approx(whole.levels)
    assert read_loudness(probe(str(record(tmp_path / "b.mkv", None, 0, 5, (64, 48))))) is None


def make_loudness(seed: int, first: int, windows: int) -> Loudness:
    """Return a part of the loudness of a soft, steady sound, 100 windows a second."""
    random = np.random.default_rng(seed)
    steady = np.exp(0.2 * random.normal(0, 1, 4000)) * 1e-4
    levels = np.convolve(steady, np.ones(5) / 5, "same")[first : first + windows]
    return Loudness(0.0, levels.tolist())


@pytest.mark.parametrize("seed", range(8))
def test_the_ends_of_a_recording_are_no_moments_in_common(seed: int) -> None:
    one, other = make_loudness(seed, 500, 1500), make_loudness(seed + 100, 500, 1500)
    assert estimate_sound_offset(one, other) is None

    found = estimate_sound_offset(one, make_loudness(seed, 650, 1500))
    assert found is not None
    assert found[0] == pytest.approx(1.5, abs=0.02)
