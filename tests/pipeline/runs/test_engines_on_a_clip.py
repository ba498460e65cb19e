"""All engines enhance a real clip alike."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from click.testing import CliRunner

from pipeline.cli.main import main
from tests.support import ROOT

SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"
END = "0.12"  # seconds: four frames


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stderr


def test_engines_agree_within_a_level(tmp_path: Path) -> None:
    lr = tmp_path / "lr.mkv"
    run("degrade", SAMPLE, "--scale", 4, "-o", lr)
    made = {}
    for engine in ("torch", "onnx", "openvino", "bicubic"):
        out = tmp_path / f"{engine}.mkv"
        where = (lr, "--ref-stream", SAMPLE, "-o", out, "--end", END, "--codec", "ffv1")
        notes = run("run", *where, "--engine", engine, "--runner", "inline")
        assert f"engine {engine} on cpu (requested)" in notes
        made[engine] = frames(out).astype(int)
    for engine in ("onnx", "openvino"):
        assert (np.abs(made[engine] - made["torch"]) <= 1).mean() >= 0.999
    # the network does more than plain up-sampling, or the comparison would prove nothing
    assert (np.abs(made["bicubic"] - made["torch"]) <= 1).mean() < 0.9
