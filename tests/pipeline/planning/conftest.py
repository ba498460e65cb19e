"""The bundled clip at a quarter of its size, without loss and compressed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.tools.degrade import degrade
from pipeline.tools.demo import SAMPLE


@pytest.fixture(scope="package")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a quarter of the sample, without loss."""
    path = tmp_path_factory.mktemp("faithful") / "lr.mkv"
    degrade(str(SAMPLE), path, scale=4)
    return path


@pytest.fixture(scope="package")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same as a phone compresses it."""
    path = tmp_path_factory.mktemp("compressed") / "lr.mp4"
    degrade(str(SAMPLE), path, scale=4, codec="libx264", crf=28, pix_fmt="yuv420p")
    return path
