"""Files of others that break naive readers come through whole, or give the refusal expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.media.odd import EXPECTED, check_file, check_folder
from tests.support import DATA

ODD = DATA / "odd"


@pytest.mark.parametrize(
    "name",
    [
        "edts.mp4",
        "field_coded.ts",
        "nasa_13013.mp4",
        "not_coded.avi",
        "sar_2x1.mp4",
    ],
)
def test_small_ones_come_through_whole(name: str) -> None:
    assert name in EXPECTED
    found = check_file(ODD / name)
    assert found.outcome == "same", found.detail


def test_large_ones_begin_well() -> None:
    found = check_file(ODD / "rotate-buck-bunny.mp4", end=0.2)
    assert found.outcome == "same", found.detail


def test_a_missing_refusal_and_another_one_are_faults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(EXPECTED, "edts.mp4", "has only audio")
    assert check_file(ODD / "edts.mp4", end=0.1).outcome == "FAULT"
    broken = tmp_path / "edts.mp4"
    broken.write_bytes(b"no video at all")
    assert check_file(broken).outcome == "FAULT"
    with pytest.raises(SystemExit, match="contains none of the files"):
        list(check_folder(tmp_path / ".."))
