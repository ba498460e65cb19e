"""Encoded bits do not depend on the previous content of an encoder's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

ENCODE = """
import hashlib, sys
from pathlib import Path
from tests.support.clips import picture
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import choose_encoding
from pipeline.media.write.segment import SegmentWriter
clip = probe("tests/data/odd/edts.mp4")
made = Path(sys.argv[1])
for codec in sys.argv[2:]:
    pix_fmt = "rgb24" if codec == "libx264rgb" else None
    encoding = choose_encoding(clip, codec=codec, pix_fmt=pix_fmt)
    # 15 macroblocks a row: not a multiple of what a vector register holds
    with SegmentWriter(made, clip, encoding, 240, 128) as writer:
        for number in range(8):
            writer.write(picture(number, 240, 128), 1000 * number)
    print(codec, hashlib.sha256(made.read_bytes()).hexdigest())
"""
CODECS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks", "libx264rgb")


@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is glibc's")
def test_bits_do_not_depend_on_what_memory_held_before(tmp_path: Path) -> None:
    outputs = []
    for pattern in ("0", "1", "170"):
        done = subprocess.run(
            [sys.executable, "-c", ENCODE, str(tmp_path / "segment"), *CODECS],
            env=os.environ | {"MALLOC_PERTURB_": pattern},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.splitlines())
    assert [len(lines) for lines in outputs] == [len(CODECS)] * 3
    assert outputs[0] == outputs[1] == outputs[2]
