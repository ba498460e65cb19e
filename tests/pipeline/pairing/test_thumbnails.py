"""Thumbnails on disk behave like the array that was stored."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.pairing.thumbnails import THUMBNAIL, Thumbnails, correlate_thumbnails, make_thumbnail
from tests.support import ROOT

LENGTH = THUMBNAIL[0] * THUMBNAIL[1]


@pytest.fixture
def stored_and_array() -> tuple[Thumbnails, np.ndarray]:
    rng = np.random.default_rng(5)
    array = rng.normal(size=(1100, LENGTH)).astype(np.float16)
    stored = Thumbnails()
    for row in array:
        stored.add(row)
    return stored, array


@pytest.mark.parametrize(
    "part",
    [np.s_[:], np.s_[3:7], np.s_[-5:], np.s_[7:3], np.s_[::-3], np.s_[1099:2000]],
    ids=str,
)
def test_slices_are_those_of_the_array(
    stored_and_array: tuple[Thumbnails, np.ndarray], part: slice
) -> None:
    stored, array = stored_and_array
    np.testing.assert_array_equal(stored[part], array[part])


def test_thumbnails_can_be_picked_in_any_order(
    stored_and_array: tuple[Thumbnails, np.ndarray],
) -> None:
    stored, array = stored_and_array
    numbers = np.random.default_rng(6).integers(0, len(array), 1500)
    picked = stored.picked(numbers)
    assert len(picked) == len(numbers)
    np.testing.assert_array_equal(picked[:], array[numbers])
    np.testing.assert_array_equal(picked[20:900], array[numbers[20:900]])
    np.testing.assert_array_equal(np.stack(list(picked)), array[numbers])
    np.testing.assert_array_equal(np.stack(list(stored)), array)
    np.testing.assert_array_equal(stored[np.array([], np.int64)], array[:0])


def test_more_can_be_added_after_some_were_read(
    stored_and_array: tuple[Thumbnails, np.ndarray],
) -> None:
    stored, array = stored_and_array
    assert len(stored[:]) == len(array)
    stored.add(array[3])
    np.testing.assert_array_equal(stored[len(array) :], array[3:4])


def test_a_missing_temporary_folder_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    # no folder is needed without thumbnails
    assert list(Thumbnails()) == []
    with pytest.raises(StageError, match=r"cannot write thumbnails .*set TMPDIR"):
        Thumbnails().add(np.zeros(LENGTH, np.float16))


def test_likeness_is_the_correlation_of_the_pictures() -> None:
    rng = np.random.default_rng(7)
    one, other = (rng.integers(0, 256, (90, 160, 3), np.uint8) for _ in range(2))
    left, right = make_thumbnail(one), make_thumbnail(other)
    found = correlate_thumbnails(left[None], np.stack((left, right)))
    expected = [np.corrcoef(left.astype(float), x.astype(float))[0, 1] for x in (left, right)]
    np.testing.assert_allclose(found[0], expected, atol=2e-3)


def test_a_full_disk_is_one_clear_line() -> None:
    stored = Thumbnails()
    stored.add(np.zeros(LENGTH, np.float16))
    assert stored._file is not None
    with Path("/dev/full").open("r+b") as full:
        os.dup2(full.fileno(), stored._file.fileno())
    with pytest.raises(StageError, match=r"No space left on device.*set TMPDIR") as caught:
        stored.add(np.zeros(LENGTH, np.float16))
    assert "\n" not in str(caught.value)
    assert len(stored) == 1


def test_no_file_remains(tmp_path: Path) -> None:
    program = """
import os, tempfile
import numpy as np
from pipeline.pairing.thumbnails import Thumbnails
stored = Thumbnails()
stored.add(np.zeros(576, np.float16))
assert len(stored[:]) == 1
print(os.listdir(tempfile.gettempdir()))
"""
    completed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (completed.returncode, completed.stdout) == (0, "[]\n"), completed.stderr
    assert list(tmp_path.iterdir()) == []
