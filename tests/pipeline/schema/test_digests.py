"""Digests of recordings and plans never change: stored runs and records depend on them."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import pytest

from pipeline.schema.clip import (
    Grid,
    LightField,
    Recording,
    Stills,
    StreamInfo,
    VideoClip,
    View,
)
from pipeline.schema.colour import Colour, StaticHdr
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan, ReferencePlan, Segment
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, ViewChoice

COMMON: dict[str, Any] = {
    "codec": "h264",
    "pix_fmt": "yuv420p",
    "bit_depth": 8,
    "width": 64,
    "height": 48,
    "time_base": Fraction(1, 12800),
    "size_bytes": 123456,
    "fingerprint": "0123abcd",
}
VIDEO = VideoClip(
    **COMMON,
    path="/data/in.mp4",
    container="mov",
    stream_index=1,
    rotation=90,
    sample_aspect_ratio=Fraction(4, 3),
    frame_rate=Fraction(30000, 1001),
    duration_pts=25600,
    colour=Colour(matrix=9, range=1, primaries=9, transfer=16, used_matrix="bt2020"),
    hdr=StaticHdr(display="G(1,2)B(3,4)R(5,6)WP(7,8)L(9,0)", light=(1000, 400)),
    interlaced=True,
    deinterlace="flagged",
    other_streams=(StreamInfo(index=2, type="audio", codec="aac", language="deu"),),
    chapters=3,
)
STILLS = Stills(
    **COMMON | {"codec": "png", "pix_fmt": "rgba64be", "bit_depth": 16},
    path="/data/keys",
    files=("/data/keys/a_0.0s.png", "/data/keys/b_1.5s.png"),
    times=(0.0, 1.5),
    alpha=True,
)
VIEWS = LightField(
    **COMMON,
    path="/data/field",
    files=("/data/field/view_00_00.png", "/data/field/view_00_01.png"),
    grid=Grid(
        layout="folder",
        views=(
            View(row=0, col=0, files=("/data/field/view_00_00.png",)),
            View(row=0, col=1, files=("/data/field/view_00_01.png",), x=1.25, y=0.0),
        ),
        template="view_{row:02}_{col:02}.png",
    ),
)
CAMERAS = LightField(
    **COMMON,
    path="/data/rig",
    files=("/data/in.mp4",),
    grid=Grid(
        layout="video",
        views=(View(row=2, col=3, clip=VIDEO, frames=7),),
        moments=7,
        order="col,row",
    ),
)
SHEETS = LightField(
    **COMMON,
    path="/data/quilt.png",
    files=("/data/quilt.png",),
    grid=Grid(
        layout="quilt",
        views=(View(row=0, col=0), View(row=0, col=1)),
        packed=(1, 2),
        line=True,
        sheets=Stills(**COMMON, path="/data/quilt.png", files=("/data/quilt.png",)),
    ),
)
FETCHED = VIDEO.model_copy(update={"url": "s3://bucket/in.mp4", "sandbox": True})


def make_plan(recording: Recording) -> Plan:
    views = None
    if isinstance(recording, LightField):
        views = ViewChoice(0, 1, 0.0, 0.0, 1.0, 0, (2, 3), (1.0, 1.4142))
    return Plan(
        input=recording,
        reference=ReferencePlan(
            clip=recording,
            select="view" if views else "time",
            offset=0.25,
            drift=1.0001,
            max_distance=2.0,
            affine=None if views else (2.0, 0.0, 0.5, 0.0, 2.0, 0.5),
        ),
        output="/data/out.mkv",
        scale=4,
        width=256,
        height=192,
        engine="torch",
        model="fast",
        model_sha256="ff00",
        batch=2,
        encoding=Encoding(codec="libx265", crf=18, preset="slow", threads=4),
        threads=2,
        cuts=(512,),
        segments=(Segment(index=0, start_pts=0, end_pts=1024, frames=2),),
        reference_map=ReferenceMap(
            [
                ReferenceChoice(0, 0, 0.0, "nearest", views=views),
                ReferenceChoice(512, None, None, "cut", 0.125, views=views),
            ]
        ),
        notes=("a note",),
    )


@pytest.mark.parametrize(
    ("recording", "digest", "plan_digest"),
    [
        (
            VIDEO,
            "0e21b7d1be6548c0d040e8960629d9ac2c8a0bef58ed8b4b075fa8092cfd7513",
            "282acf91578b0dda0fcd498b3a3bc9697dc278b1b52549eed502fb1db81f39b6",
        ),
        (
            STILLS,
            "cab6e88551df6bb957ac2ba7569db3d8e8662e645dcc864311edd023c2e650b4",
            "73d950414c2bb986631926ec13b55455f5a1bf105831bf4e6bd32677e3324c57",
        ),
        (
            VIEWS,
            "bb41ab96024fbb6f4d33119dc3bb25e9a3e654d25f5e947b823bf1fdb03df67d",
            "fc8e53a7d4df9bf03918eaff0520939f3de1db5460818f69b12a215825324a7b",
        ),
        (
            CAMERAS,
            "cc69eac813413762815a157c8062ef7e6a2413b9e806f9ea682ce51710e904a8",
            "99cdc87b4b0b7c2b9fdd8a6d9ff17056dc1aba55eafb7d69634d968eb6077c0d",
        ),
        (
            SHEETS,
            "443ebd73fd6e79023c068ede9a38510635097dc3c1072150203ee8f71d4e0c10",
            "857f5444208f1b6f0ccb9ec76c5f2569dae1809debbc92d83facf08898e85cab",
        ),
        (
            FETCHED,
            "bd415419ea55a84f23ce1ade12bdab96f6c552678823756ac9a8064d5d302f0a",
            "08e01d065dfce278117c13ef8d3df0e0e3372518c4162ad69aca51482078fb63",
        ),
    ],
    ids=["video", "stills", "folder of views", "cameras", "sheets", "fetched"],
)
def test_digests_are_those_of_stored_runs(
    recording: Recording, digest: str, plan_digest: str
) -> None:
    assert hashlib.sha256(recording.model_dump_json().encode()).hexdigest() == digest
    assert make_plan(recording).digest() == plan_digest


@pytest.mark.parametrize("recording", [VIDEO, STILLS, VIEWS, CAMERAS, SHEETS])
def test_a_moved_recording_has_the_same_plan_and_a_changed_one_another(
    recording: Recording,
) -> None:
    moved = recording.with_path(recording.path.replace("/data", "/mnt/archive"))
    assert moved.path != recording.path
    assert make_plan(moved).digest() == make_plan(recording).digest()

    changed = recording.model_copy(update={"fingerprint": "4567ef01"})
    assert make_plan(changed).digest() != make_plan(recording).digest()
