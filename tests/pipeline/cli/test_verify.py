"""`pipeline verify`: an output compared with its input."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from tests.support.recordings import texture, write_video


@pytest.fixture
def lr(tmp_path: Path) -> Path:
    return write_video(tmp_path / "lr.mkv", [texture(i, 48, 64) for i in range(6)])


def test_an_enlarged_copy_does_not_differ(lr: Path, tmp_path: Path) -> None:
    out = write_video(tmp_path / "out.mkv", [texture(i, 96, 128) for i in range(6)])
    done = CliRunner().invoke(main, ["verify", str(lr), str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["same"] is True


def test_a_lost_frame_is_reported(lr: Path, tmp_path: Path) -> None:
    out = write_video(tmp_path / "out.mkv", [texture(i, 96, 128) for i in range(5)])
    done = CliRunner().invoke(main, ["verify", str(lr), str(out)])
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["it has 5 frames, expected 6"]


def test_an_output_that_is_no_video_is_refused(lr: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mkv").write_text("nothing")
    done = CliRunner().invoke(main, ["verify", str(lr), str(tmp_path / "out.mkv")])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["out.png", "folder"])
def test_still_pictures_of_a_video_are_refused(lr: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    if name == "folder":
        out.mkdir()
    picture = out / "a.png" if name == "folder" else out
    cv2.imwrite(str(picture), texture(0, 96, 128))

    done = CliRunner().invoke(main, ["verify", str(lr), str(out)])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert "contains still pictures, but" in done.stderr
