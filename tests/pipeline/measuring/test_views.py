"""Figures of an enhanced light field, compared with directly computed values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import PairingError
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.views import LightFieldQuality, evaluate_views
from pipeline.schema.clip import Clip
from tests.support import scenes


def open_clip(path: Path) -> Clip:
    clip = open_light_field(path)
    assert clip is not None
    return clip


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return a result that is off by its column + 1 in every pixel, and the truth."""
    for row in range(2):
        for col in range(3):
            truth = np.clip(scenes.flowers(row, col), 10, 240)
            scenes.save_picture(tmp_path / "truth" / f"view_{row}_{col}.png", truth)
            scenes.save_picture(tmp_path / "sr" / f"view_{row}_{col}.png", truth + col + 1)
    return tmp_path / "sr", tmp_path / "truth"


def psnr(error: float) -> float:
    return float(20 * np.log10(255 / error))


def test_means_leave_given_views_out_and_distances_are_kept_apart(pair: tuple[Path, Path]) -> None:
    places = {(r, c): float(c) for r in range(2) for c in range(3)} | {(0, 0): None}
    found = evaluate_views(open_clip(pair[0]), open_clip(pair[1]), places)
    assert found.given == ((0, 0),)
    assert len(found.views) == 5
    expected = [psnr(1), *[psnr(2)] * 2, *[psnr(3)] * 2]
    assert found.psnr == pytest.approx(np.mean(expected), abs=1e-3)
    assert found.worst.col == 2
    assert [(near.steps, near.views) for near in found.by_distance] == [(0, 1), (1, 2), (2, 2)]
    assert found.by_distance[2].psnr == pytest.approx(psnr(3), abs=1e-3)


def test_epipolar_psnr_and_warping_error_of_known_faults(pair: tuple[Path, Path]) -> None:
    found = evaluate_views(open_clip(pair[0]), open_clip(pair[1]))
    rows = 2 * 48 * [psnr(np.sqrt((1 + 4 + 9) / 3))]
    cols = [value for col in range(3) for value in 64 * [psnr(col + 1)]]
    assert found.epi_psnr == pytest.approx(np.mean(rows + cols), abs=1e-3)
    assert found.warp_error is not None
    assert found.warp_error_truth is not None
    # neighbours in a row differ by one more level, those in a column by none
    assert found.warp_error_truth < found.warp_error < found.warp_error_truth + 1
    assert found.flicker == pytest.approx(1, abs=1e-3)
    perfect = evaluate_views(open_clip(pair[1]), open_clip(pair[1]))
    assert perfect.flicker == 0
    assert perfect.warp_error == perfect.warp_error_truth


def test_the_command_measures_light_fields(pair: tuple[Path, Path]) -> None:
    arguments = ["evaluate", str(pair[0]), "--ground-truth", str(pair[1])]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert len(LightFieldQuality.model_validate(json.loads(done.stdout)).views) == 6
    assert "6 views" in CliRunner().invoke(main, arguments).stdout


def test_a_truth_without_some_views_is_refused(pair: tuple[Path, Path]) -> None:
    (pair[1] / "view_1_2.png").unlink()
    with pytest.raises(PairingError, match=r"no view \(1, 2\)"):
        evaluate_views(open_clip(pair[0]), open_clip(pair[1]))
