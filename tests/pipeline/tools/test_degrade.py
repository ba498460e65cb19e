"""`pipeline degrade --force` replaces an earlier result, and no folder of other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.tools.degrade import degrade
from tests.support import scenes


def test_force_replaces_a_folder_of_pictures_and_no_other(tmp_path: Path) -> None:
    source = scenes.write_folder(tmp_path / "hr", 1, 2)
    out = tmp_path / "lr"
    degrade(str(source), out, scale=2)
    first = sorted(path.name for path in out.iterdir())
    (out / "old.png").write_bytes((out / first[0]).read_bytes())
    degrade(str(source), out, scale=2, force=True)
    assert sorted(path.name for path in out.iterdir()) == first

    (out / "thesis.odt").write_text("keep")
    with pytest.raises(InputError, match=r"found thesis\.odt in .*expected only pictures"):
        degrade(str(source), out, scale=2, force=True)
    assert (out / "thesis.odt").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "lr"]
