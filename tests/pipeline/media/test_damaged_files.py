"""Damaged and crafted files end in frames or in one line; no other file is read."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from jobs.media.cut import cut_beginnings
from jobs.stress.fuzz_media import damage_sample, fuzz, list_samples, read_file
from pipeline.errors import InputError, MediaError
from pipeline.media.read.probe import probe, scan
from tests.support import DATA
from tests.support.clips import make_video

ODD = DATA / "odd"
SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
"""How long damaged inputs are tried."""


def test_damaged_recordings_neither_kill_nor_hang_the_reader() -> None:
    answers = dict(fuzz(SECONDS, seed=1))
    assert len(answers) > 3
    assert {number: a for number, a in answers.items() if a.split()[0].isupper()} == {}


@pytest.mark.parametrize("number", [1000000, 1000017, 1000048])
def test_inputs_that_once_escaped(number: int, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(damage_sample(number, [sample.read_bytes() for sample in list_samples()]))
    assert read_file(str(path)).split()[0] in ("read", "refused")


def test_a_stream_that_the_header_does_not_tell_of(tmp_path: Path) -> None:
    # FLV may begin one at any time; PyAV raised IndexError
    path = tmp_path / "input"
    originals = [cut for sample in list_samples() for cut in cut_beginnings(sample)]
    path.write_bytes(damage_sample(51000786, originals))
    assert path.read_bytes()[:3] == b"FLV"
    assert read_file(str(path)).split()[0] in ("read", "refused")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("list.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n"),
    ],
)
def test_a_playlist_reads_no_other_file(name: str, text: str, tmp_path: Path) -> None:
    make_video(tmp_path / "secret.mp4", pts=list(range(5)))
    (tmp_path / name).write_text(text)
    with pytest.raises(MediaError, match="cannot be opened as a video"):
        probe(str(tmp_path / name))


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/a.mp4", "concat:a.mp4|b.mp4", "pipe:0"])
def test_a_protocol_is_no_path(path: str) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        probe(path)


@pytest.mark.parametrize(
    "name",
    [
        "with space.mp4", "-dash.mp4", "new\nline.mp4", "concat:a.mp4", "http:x.mp4", "%d.mp4",
        "\udcff\udcfe.mp4", "ü" * 125 + ".mp4",
    ],
    ids=ascii,
)  # fmt: skip
def test_any_name_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "odd/edts.mp4", name)
    assert len(scan(probe(name)).pts) > 1


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of 70 bytes whose header says `width` x `height`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_picture_that_claims_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "huge_0s.png"
    picture.write_bytes(png_that_claims(100_000, 100_000))
    with pytest.raises(
        MediaError, match="has a frame size of 100000x100000; expected at most 256 mega"
    ):
        probe(str(picture))
    monkeypatch.setenv("PIPELINE_MAX_MEGAPIXELS", "many")
    with pytest.raises(InputError, match="PIPELINE_MAX_MEGAPIXELS is many; set it to a number"):
        probe(str(picture))


def test_a_video_larger_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = ODD / "sar_2x1.mp4"
    assert probe(str(clip)).width == 640
    monkeypatch.setenv("PIPELINE_MAX_MEGAPIXELS", "0.2")
    with pytest.raises(
        MediaError, match=r"has a frame size of 640x360; expected at most 0\.2 mega"
    ):
        probe(str(clip))
