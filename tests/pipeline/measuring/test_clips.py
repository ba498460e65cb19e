"""Degrading and evaluating, compared with direct computation."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from click.testing import CliRunner

from crossnetpp.data.degradation import degrade as reduce
from pipeline.cli.main import main
from pipeline.errors import InputError, PairingError
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.clips import evaluate
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.pairing.given import list_given_frames
from pipeline.planning.plan import make_plan
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade
from tests.support import DATA, ROOT
from tests.support.recordings import texture, write_pair

SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"


def test_degrade_keeps_times_and_sound_and_loses_only_what_it_says(tmp_path: Path) -> None:
    done = degrade(str(SAMPLE), tmp_path / "lr.mp4", scale=4)
    assert (done.frames, done.width, done.height) == (61, 180, 120)
    hr, lr = probe(str(SAMPLE)), probe(str(tmp_path / "lr.mp4"))
    assert [p * lr.time_base for p in scan(lr).pts] == [p * hr.time_base for p in scan(hr).pts]
    assert [s.type for s in lr.other_streams] == [s.type for s in hr.other_streams]
    made, source = next(iter(read_frames(lr))), next(iter(read_frames(hr)))
    # lossless but for the rounding of YUV at 8 bit
    assert np.abs(made.rgb.astype(int) - reduce(source.rgb, 4)).max() <= 3


def test_every_15th_frame_is_kept_with_its_time(tmp_path: Path) -> None:
    degrade(str(SAMPLE), tmp_path / "key.mp4", scale=1, every=15)
    whole, keys = probe(str(SAMPLE)), probe(str(tmp_path / "key.mp4"))
    expected = [p * whole.time_base for p in scan(whole).pts[::15]]
    assert [p * keys.time_base for p in scan(keys).pts] == expected


def test_an_odd_size_and_a_still_can_be_degraded(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "hr.png", texture(0, 100, 140))
    done = degrade(str(tmp_path / "hr.png"), tmp_path / "lr.png", scale=4)
    assert imageio.imread(tmp_path / "lr.png").shape == (25, 35, 3)
    assert done.frames == 1
    lr = tmp_path / "lr.mp4"
    degrade(str(SAMPLE), tmp_path / "half.mp4", scale=8)
    degrade(str(tmp_path / "half.mp4"), lr, scale=2)
    assert (probe(str(lr)).width, probe(str(lr)).height) == (45, 30)


def test_colours_guessed_by_size_stay_when_the_size_changes(tmp_path: Path) -> None:
    untagged = DATA / "big_buck_bunny_720p.mp4"
    degrade(str(untagged), tmp_path / "lr.mp4", scale=4, every=60)
    truth, small = probe(str(untagged)), probe(str(tmp_path / "lr.mp4"))
    assert truth.colour.guessed
    assert small.colour.used_matrix == truth.colour.used_matrix == "bt709"
    sharp, reduced = next(iter(read_frames(truth))).rgb, next(iter(read_frames(small))).rgb
    away = reduced.astype(int) - reduce(sharp, 4)
    assert np.abs(away.mean(axis=(0, 1))).max() < 0.5


def test_a_reduced_light_field_keeps_the_order_of_its_views(tmp_path: Path) -> None:
    # stored with rows and columns exchanged, as the sidecar of the folder records
    capture = DATA / "flowers_8x8.png"
    layout = ["--layout", "mosaic", "--grid", "8x8", "--order", "col,row", "--crop-grid", "3x2"]
    sharp, small = tmp_path / "sharp", tmp_path / "small"
    command = ["convert", str(capture), *layout, "--to", "folder", "-o", str(sharp)]
    converted = CliRunner().invoke(main, command)
    assert converted.exit_code == 0, converted.output
    degrade(str(sharp), small, scale=2)
    truth, reduced = open_light_field(sharp), open_light_field(small)
    assert truth is not None
    assert reduced is not None
    assert reduced.grid.rows == truth.grid.rows == (truth.grid.rows[0], 3)
    for a, b in zip(truth.grid.views, reduced.grid.views, strict=True):
        assert (a.row, a.col) == (b.row, b.col)
        assert [Path(f).name for f in a.files] == [Path(f).name for f in b.files]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing/lr.mp4", {}, "does not exist; create it first"),
        ("lr.webm", {}, "cannot hold"),
        ("lr.mp4", {"every": 0}, "--every is 0"),
        ("lr.mp4", {"codec": "h277"}, "h277"),
    ],
)
def test_degrade_refuses_what_it_cannot_do(
    tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        degrade(str(SAMPLE), tmp_path / name, scale=4, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_degrade_leaves_an_existing_output(tmp_path: Path) -> None:
    (tmp_path / "lr.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match="already exists"):
        degrade(str(SAMPLE), tmp_path / "lr.mp4", scale=4)
    assert (tmp_path / "lr.mp4").read_bytes() == b"mine"


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[float]]:
    """Two folders of pictures with known error; returns them and each frame's PSNR."""
    folder = tmp_path_factory.mktemp("stills")
    rng = np.random.default_rng(0)
    expected = []
    for name in ("truth", "result"):
        (folder / name).mkdir()
    for number, sigma in enumerate((2, 9, 4)):
        truth = texture(number, 48, 64)
        noisy = np.clip(truth + rng.normal(0, sigma, truth.shape), 0, 255).astype(np.uint8)
        imageio.imwrite(folder / "truth" / f"{number}.png", truth)
        imageio.imwrite(folder / "result" / f"{number}.png", noisy)
        error = np.mean((truth.astype(float) - noisy) ** 2)
        expected.append(10 * np.log10(255**2 / error))
    return folder / "result", folder / "truth", expected


def test_evaluate_reports_means_and_the_worst_frame(
    stills: tuple[Path, Path, list[float]],
) -> None:
    result, truth, expected = stills
    measured = evaluate(result, truth)
    assert measured.frames == 3
    assert measured.psnr == pytest.approx(np.mean(expected), abs=1e-3)
    assert (measured.worst.frame, measured.worst.psnr) == (1, pytest.approx(expected[1], abs=1e-3))
    assert 0 < measured.ssim < 1
    without = evaluate(result, truth, skip=frozenset({1}))
    assert without.psnr == pytest.approx((expected[0] + expected[2]) / 2, abs=1e-3)


def test_evaluate_prints_one_json_object(stills: tuple[Path, Path, list[float]]) -> None:
    done = CliRunner().invoke(
        main, ["evaluate", str(stills[0]), "--ground-truth", str(stills[1]), "--json"]
    )
    assert done.exit_code == 0, done.output
    fields = {"frames", "psnr", "ssim", "psnr_y", "ssim_y", "worst"}
    assert set(json.loads(done.stdout)) == fields


def test_a_part_is_compared_with_the_part_of_its_time(tmp_path: Path) -> None:
    degrade(str(SAMPLE), tmp_path / "key.mp4", scale=1, every=15)
    assert evaluate(tmp_path / "key.mp4", SAMPLE).psnr > 40
    with pytest.raises(PairingError, match="no frame at"):
        evaluate(SAMPLE, tmp_path / "key.mp4")


def test_another_size_is_refused(stills: tuple[Path, Path, list[float]]) -> None:
    with pytest.raises(PairingError, match="expected the same size"):
        evaluate(stills[0], SAMPLE)


def test_given_frames_are_those_with_a_reference_of_their_own_time(tmp_path: Path) -> None:
    degrade(str(SAMPLE), tmp_path / "lr.mp4", scale=4)
    degrade(str(SAMPLE), tmp_path / "key.mp4", scale=1, every=15)
    plan = make_plan(
        RunSettings(
            input=str(tmp_path / "lr.mp4"),
            ref_stream=str(tmp_path / "key.mp4"),
            output=str(tmp_path / "out.mp4"),
        )
    )
    assert list_given_frames(plan) == frozenset({0, 15, 30, 45, 60})


def test_unrelated_sizes_of_a_pair_still_degrade(tmp_path: Path) -> None:
    lr, _ = write_pair(tmp_path)
    with pytest.raises(InputError, match="needs at least"):
        degrade(str(lr), tmp_path / "tiny.mkv", scale=8)
