"""`pipeline degrade --force` replaces an earlier result, and no folder of other files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

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


def read_planes(path: Path) -> list[NDArray[np.uint16]]:
    with av.open(path) as container:
        return [
            np.stack([np.frombuffer(bytes(plane), np.uint16) for plane in frame.planes])
            for frame in container.decode(video=0)
        ]


def test_ten_bits_are_kept_losslessly(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    source = tmp_path / "noise.mkv"
    with av.open(source, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv444p10le"
        for _ in range(3):
            pixels = rng.integers(0, 65536, (96, 128, 3), dtype=np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb48le")))
        container.mux(stream.encode())

    default, exact = tmp_path / "default.mkv", tmp_path / "exact.mkv"
    degrade(str(source), default, scale=2)
    degrade(str(source), exact, scale=2, codec="ffv1", pix_fmt="yuv444p10le")
    assert (probe(str(default)).codec, probe(str(default)).pix_fmt) == ("hevc", "yuv444p10le")

    found, expected = read_planes(default), read_planes(exact)
    assert len(found) == 3
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
