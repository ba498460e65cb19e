"""Fixtures that many tests of the pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recordings import write_pair


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return an LR and an HR recording of the same pan, which no test may change.

    They have 40 frames, or as many as the constant `PAIR_FRAMES` of the test module says.
    """
    frames = getattr(request.module, "PAIR_FRAMES", 40)
    return write_pair(tmp_path_factory.mktemp("pair"), frames=frames)
