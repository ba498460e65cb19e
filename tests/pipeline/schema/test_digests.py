"""Digests of recordings and plans never change: stored runs and records depend on them."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import pytest

from pipeline.schema.clip import (
    Colour,
    Grid,
    LightField,
    Recording,
    StaticHdr,
    Stills,
    StreamInfo,
    VideoClip,
    View,
)
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
            "447fdb689a6385c077d64a8762ca3175b0ab8cfae6236f6d0a09a3d797034aee",
        ),
        (
            STILLS,
            "cab6e88551df6bb957ac2ba7569db3d8e8662e645dcc864311edd023c2e650b4",
            "6417d90a71accfa302d9023c6004a0d22c8d2853c237db2e69b00d57ec0f9313",
        ),
        (
            VIEWS,
            "bb41ab96024fbb6f4d33119dc3bb25e9a3e654d25f5e947b823bf1fdb03df67d",
            "310d4183d61267a8d258839175beb02310f6dde3d66af891643cd5ae72e9160d",
        ),
        (
            CAMERAS,
            "cc69eac813413762815a157c8062ef7e6a2413b9e806f9ea682ce51710e904a8",
            "2609ec12197bc079f59f4741908a303eb6fb73a086e776f0fbec7afe8f4c64e7",
        ),
        (
            SHEETS,
            "443ebd73fd6e79023c068ede9a38510635097dc3c1072150203ee8f71d4e0c10",
            "f474933db6b32fcb8ac99d1c76f3b3530e5028fe2d4f8bef9cfb22092686fdbc",
        ),
        (
            FETCHED,
            "bd415419ea55a84f23ce1ade12bdab96f6c552678823756ac9a8064d5d302f0a",
            "258b5cae6d3cd8774f7938f95f7205b310d55c3a186db7f1a8e5ff4ffb9a8349",
        ),
    ],
    ids=["video", "stills", "folder of views", "cameras", "sheets", "fetched"],
)
def test_digests_are_those_of_stored_runs(
    recording: Recording, digest: str, plan_digest: str
) -> None:
    assert hashlib.sha256(recording.model_dump_json().encode()).hexdigest() == digest
    assert make_plan(recording).digest() == plan_digest
