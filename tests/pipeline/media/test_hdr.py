"""PQ and HLG with their static metadata come through 10 bit video."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings
from tests.support.clips import make_video

DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
PARAMS = f"log-level=none:pools=none:frame-threads=1:master-display={DISPLAY}:max-cll=1000,400"


def hdr_video(path: Path, transfer: int) -> Path:
    options = {"x265-params": PARAMS, "preset": "ultrafast"}
    return make_video(
        path,
        codec="libx265",
        options=options,
        pts=list(range(4)),
        pix_fmt="yuv420p10le",
        colour=(9, 1, 9, transfer),
    )


def enhanced(source: Path, **settings: str) -> tuple[Path, tuple[str, ...]]:
    reference = source.with_name("reference.png")
    picture = next(iter(read_frames(probe(str(source))))).rgb
    save_picture(reference, picture.repeat(2, 0).repeat(2, 1))
    done = run(
        RunSettings(
            input=str(source),
            ref_stream=str(reference),
            scale="2",
            engine="bicubic",
            runner="inline",
            segment=0.08,
            preset="ultrafast",
            **settings,
        )
    )
    return Path(done.output), done.notes


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_static_metadata_and_transfer_come_through(
    transfer: int, suffix: str, tmp_path: Path
) -> None:
    out, _ = enhanced(hdr_video(tmp_path / f"in{suffix}", transfer))
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (9, 9, transfer)
        assert context.pix_fmt == "yuv420p10le"
        kinds = {frames[0].side_data[i].type.name for i in range(len(frames[0].side_data))}
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kinds
    made = probe(str(out)).hdr
    assert made is not None
    assert (made.display, made.light) == (DISPLAY, (1000, 400))


def test_an_encoder_without_the_metadata_says_so(tmp_path: Path) -> None:
    _, notes = enhanced(hdr_video(tmp_path / "in.mkv", 16), codec="libx264", pix_fmt="yuv420p10le")
    assert any("mastering display" in note for note in notes)
