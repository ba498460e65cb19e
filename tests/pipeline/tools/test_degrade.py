"""`pipeline degrade --force` replaces an earlier result, and no folder of other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.media.read.probe import probe
from pipeline.tools.degrade import degrade
from tests.support import ROOT, scenes


def test_force_replaces_a_folder_of_pictures_and_no_other(tmp_path: Path) -> None:
    source = scenes.write_folder(tmp_path / "hr", 1, 2)
    out = tmp_path / "lr"
    degrade(str(source), out, scale=2)
    first = sorted(path.name for path in out.iterdir())
    (out / "old.png").write_bytes((out / first[0]).read_bytes())
    degrade(str(source), out, scale=2, force=True)
    assert sorted(path.name for path in out.iterdir()) == first

    (out / "thesis.odt").write_text("keep")
    with pytest.raises(InputError, match=r"contains thesis\.odt besides pictures"):
        degrade(str(source), out, scale=2, force=True)
    assert (out / "thesis.odt").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "lr"]


def test_odd_sides_keep_full_chroma_where_the_encoder_needs_it(tmp_path: Path) -> None:
    source = str(ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4")
    odd = tmp_path / "odd.mkv"
    result = degrade(source, odd, scale=11, every=40, codec="libx264", crf=20)
    assert (result.width, result.height) == (116, 65)
    assert probe(str(odd)).pix_fmt == "yuv444p"

    even = tmp_path / "even.mkv"
    degrade(source, even, scale=10, every=40, codec="libx264", crf=20)
    assert probe(str(even)).pix_fmt == "yuv420p"

    none = tmp_path / "none.mkv"
    with pytest.raises(InputError, match="multiple of 2 and the height of 2; try --pix"):
        degrade(source, none, scale=11, codec="libx264", pix_fmt="yuv420p")
    assert not none.exists()
