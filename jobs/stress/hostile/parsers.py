"""Damaged and malicious files for parsers: pictures, containers, subtitles and their metadata."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from jobs.stress.hostile.bench import OPTIONS, PLAIN, Bench, Case
from jobs.stress.hostile.process import ROOT

_ESCAPE = "\x1b]0;evil\x07"
_MIB = 1 << 20
# an EPS picture, for which Pillow would start the program gs
_SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n(%pipe%touch PWNED) (w) file\n"
_RUN = ("--ref-stream", "hr.mkv", *OPTIONS, "-o")


def _save(file_format: str, **options: object) -> bytes:
    """Return a picture of 32 x 24 pixels in one of Pillow's formats."""
    pixels = np.arange(32 * 24 * 3, dtype=np.uint32).astype(np.uint8).reshape(24, 32, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def _make_profile(tags: int) -> bytes:
    """Return an ICC profile that claims to contain `tags` tags of 2 GiB each."""
    head = struct.pack(">I", 0xFFFFFFFF) + b"evil" + bytes(120) + struct.pack(">I", tags)
    return head + struct.pack(">III", 0x64657363, 8, 0x7FFFFFFF) * min(tags, 1000)


def _make_app2(count: int) -> bytes:
    """Return a JPEG with a profile in `count` parts that all claim to be the first of 255."""
    part = b"ICC_PROFILE\0\x01\xff" + bytes(60_000)
    marker = b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part
    whole = _save("JPEG")
    return whole[:2] + marker * count + whole[2:]


def _make_ifd(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + packed + struct.pack("<I", following) + bytes(4096)


_TIFF = [(256, 4, 1, 32), (257, 4, 1, 24), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 200),
         (277, 3, 1, 1), (278, 4, 1, 24), (279, 4, 1, 768)]  # fmt: skip


def _make_exr(*, compression: int = 0, window: tuple[int, int, int, int] = (0, 0, 31, 23),
              attribute: bytes = b"", flags: int = 0, channel: bytes = b"R") -> bytes:  # fmt: skip
    """Return an EXR header that declares one channel of floats, followed by zeros."""

    def add(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value

    channels = channel + b"\0" + struct.pack("<IIII", 2, 0, 1, 1) + b"\0"
    box = struct.pack("<iiii", *window)
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags) + attribute
    head += add(b"channels", b"chlist", channels) + add(b"lineOrder", b"lineOrder", b"\0")
    head += add(b"compression", b"compression", bytes([compression]))
    head += add(b"dataWindow", b"box2i", box) + add(b"displayWindow", b"box2i", box)
    head += add(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += add(b"screenWindowCenter", b"v2f", bytes(8))
    head += add(b"screenWindowWidth", b"float", struct.pack("<f", 1))
    return head + b"\0" + bytes(24 * 160)


def _damage_heif(old: bytes, new: bytes) -> bytes:
    """Return a HEIC file of several tiles in which the bytes `old` are replaced with `new`."""
    whole = (ROOT / "tests" / "data" / "tiled.heic").read_bytes()
    assert old in whole
    return whole.replace(old, new)


def _spoil_box(kind: bytes, skip: int) -> bytes:
    """Return a HEIC file with 16 bytes of 0xff in the box `kind`, `skip` bytes after its name."""
    whole = (ROOT / "tests" / "data" / "tiled.heic").read_bytes()
    place = whole.index(kind) + 4 + skip
    return whole[:place] + b"\xff" * 16 + whole[place + 16 :]


def _make_webp(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", 0x12) + struct.pack("<I", width - 1)[:3]
    canvas += struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + canvas


_Y4M = {
    "rate-zero": b"YUV4MPEG2 W64 H48 F0:0\n",
    "rate-huge": b"YUV4MPEG2 W64 H48 F4294967295:1\n",
    "aspect": b"YUV4MPEG2 W64 H48 F24:1 A0:0\n",
    "negative": b"YUV4MPEG2 W-64 H-48 F24:1\n",
    "endless-header": b"YUV4MPEG2 W64 H48 F24:1 X" + b"a" * (10 * _MIB),
    "escape": b"YUV4MPEG2 W64 H48 F24:1 C\x1b]0;evil\x07\n",
    "mono": b"YUV4MPEG2 W64 H48 F24:1 Cmono16\n",
    "odd": b"YUV4MPEG2 W1 H1 F24:1 C411\n",
}

_PICTURES: dict[str, Callable[[], bytes]] = {
    "script.png": lambda: _SCRIPT,
    "script.tif": lambda: _SCRIPT,
    "script.heic": lambda: _SCRIPT,
    "document.png": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 24, 32, 8, 3),
    "profile.png": lambda: _save("PNG", icc_profile=_make_profile(0xFFFFFFFF)),
    "profile.jpg": lambda: _make_app2(255),
    "profile.webp": lambda: _save("WEBP", icc_profile=_make_profile(1000)),
    "exif.jpg": lambda: _save("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 400),
    "exif-loop.jpg": lambda: _save(
        "JPEG", exif=b"Exif\0\0" + _make_ifd([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)], 8)
    ),
    "segments.jpg": lambda: _save("JPEG")[:2] + b"\xff\xe1\x00\x02" * (4 * _MIB),
    "sub.tif": lambda: _make_ifd([*_TIFF, (330, 4, 1, 8)]),
    "exif.tif": lambda: _make_ifd([*_TIFF, (34665, 4, 1, 8)], 8),
    "count.tif": lambda: _make_ifd([*_TIFF, (270, 2, 0xFFFFFFFF, 8)]),
    "strips.tif": lambda: _make_ifd([*_TIFF[:4], (273, 4, 0x3FFFFFFF, 8), *_TIFF[5:]]),
    "tiles.tif": lambda: _make_ifd([*_TIFF[:4], (322, 4, 1, 0), (323, 4, 1, 0), (324, 4, 1, 8)]),
    "samples.tif": lambda: _make_ifd([*_TIFF[:5], (277, 3, 1, 65535), *_TIFF[6:]]),
    "negative.exr": lambda: _make_exr(window=(10, 10, 0, 0)),
    "far.exr": lambda: _make_exr(window=(2**31 - 32, 2**31 - 24, 2**31 - 1, 2**31 - 1)),
    "compression.exr": lambda: _make_exr(compression=255),
    "attribute.exr": lambda: _make_exr(attribute=b"a\0string\0\xff\xff\xff\x7f"),
    "unended.exr": lambda: _make_exr(attribute=b"a" * (4 * _MIB)),
    "tiled.exr": lambda: _make_exr(flags=0x200),
    "deep.exr": lambda: _make_exr(flags=0x800),
    "parts.exr": lambda: _make_exr(flags=0x1000),
    "channel.exr": lambda: _make_exr(channel=_ESCAPE.encode()),
    "location.heic": lambda: _spoil_box(b"iloc", 8),
    "properties.heic": lambda: _spoil_box(b"ispe", 4),
    "reference.heic": lambda: _spoil_box(b"iref", 4),
    "items.heic": lambda: _spoil_box(b"iinf", 0),
    "decoder.heic": lambda: _spoil_box(b"hvcC", 0),
    "boxes.avif": lambda: struct.pack(">I", 16) + b"ftypavif" + bytes(4)
    + struct.pack(">I4s", 1, b"meta") + struct.pack(">Q", 2**62) + bytes(64),
    "canvas.webp": lambda: _make_webp(1 << 24, 1 << 24),
    "moving.webp": lambda: _save("WEBP", save_all=True, append_images=[
        Image.new("RGB", (32, 24), (n, 0, 0)) for n in range(200)]),
    "numbers.ppm": lambda: b"P6 32 24 " + b"9" * 100_000 + b"\n" + bytes(32 * 24 * 3),
    "comment.ppm": lambda: b"P6\n#" + b"x" * (8 * _MIB),
}  # fmt: skip


def _attack_picture(bench: Bench, name: str) -> None:
    """Probe a picture, and use it as input and as reference."""
    bench.copy("large.png", "small.png")
    content = _PICTURES[name]()
    bench.write(name, content)
    bench.write("programs/gs", f"#!/bin/sh\ntouch '{bench.marker}'\n").chmod(0o755)
    allowed = (0, 1, 2)
    path = os.pathsep.join([str(bench.folder / "programs"), os.environ.get("PATH", os.defpath)])
    bench.attack("probe", name, status=allowed, environment={"PATH": path})
    run = ("--scale", "2", "--engine", "bicubic", "--runner", "inline", "-q", "-o", "out.png")
    given = ("--ref-stream", "large.png", *run)
    bench.attack("run", name, *given, status=allowed, environment={"PATH": path})
    bench.attack("plan", "small.png", "--ref-stream", name, *PLAIN, status=allowed)


def _attack_y4m(bench: Bench, name: str) -> None:
    bench.copy("hr.mkv")
    bench.write("a.y4m", _Y4M[name] + b"FRAME\n" + bytes(64 * 48 * 3 // 2))
    bench.attack("probe", "a.y4m")
    bench.attack("run", "a.y4m", *_RUN, "out.mkv", status=(0, 1, 2))


def _make_with_ffmpeg(bench: Bench, *arguments: str) -> None:
    command = ["ffmpeg", "-y", "-v", "error", "-i", "lr.mkv", *arguments]
    subprocess.run(command, cwd=bench.folder, check=True, stdin=subprocess.DEVNULL)


def _make_subtitles(bench: Bench, name: str, text: str) -> None:
    bench.write(name, text)
    _make_with_ffmpeg(bench, "-i", name, "-map", "0:v", "-map", "1:s", "-c", "copy", "a.mkv")


def _make_many_lines(bench: Bench) -> None:
    line = "{n}\n00:00:00,{n:03} --> 99:59:59,999\n<font face='{n}'><b>x\n\n"
    _make_subtitles(bench, "s.srt", "".join(line.format(n=n) for n in range(900)) * 20)


def _make_styles(bench: Bench) -> None:
    head = "[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: ../../evil.ttf\n" + "A" * 9000
    events = "\n[Events]\nFormat: Start, End, Style, Text\n"
    line = "Dialogue: 0:00:00.00,0:00:01.00,{0},{{\\p1\\t(\\fscx9999999999)}}m 0 0 l 1e9 1e9{1}\n"
    _make_subtitles(bench, "s.ass", head + events + line.format("x" * 9000, _ESCAPE) * 50)


def _make_attachments(bench: Bench) -> None:
    words = []
    for number, name in enumerate(("../../evil.ttf", "/tmp/evil.ttf", f"{_ESCAPE}.ttf", "a\nb")):
        bench.write("font", b"x" * _MIB)
        words += ["-attach", "font", f"-metadata:s:t:{number}", f"filename={name}"]
        words += [f"-metadata:s:t:{number}", f"mimetype=font/{_ESCAPE}"]
    _make_with_ffmpeg(bench, "-map", "0:v", "-c", "copy", *words, "a.mkv")


def _make_tags(bench: Bench) -> None:
    text = ";FFMETADATA1\n" + "".join(f"key{n}={'x' * 200}\n" for n in range(5000))
    bench.write("tags", f"{text}title={'y' * _MIB}\n{_ESCAPE}=a\\\nb\n")
    _make_with_ffmpeg(bench, "-f", "ffmetadata", "-i", "tags", "-map_metadata", "1", "-map", "0:v",
                      "-c", "copy", "a.mkv")  # fmt: skip


def _make_chapters(bench: Bench) -> None:
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={0}\nEND={1}\ntitle={2}\n"
    places = [(n, n + 1, f"{n}{_ESCAPE}") for n in range(3000)]
    places += [(10**12, 10**12 + 1, "far"), (5, 5, "")]
    text = ";FFMETADATA1\n" + "".join(chapter.format(*place) for place in places)
    bench.write("tags", text)
    _make_with_ffmpeg(bench, "-f", "ffmetadata", "-i", "tags", "-map_chapters", "1", "-map", "0:v",
                      "-c", "copy", "a.mkv")  # fmt: skip


def _make_gap(bench: Bench) -> None:
    setting = "setts=pts='if(gt(N,10),PTS+1000000000,PTS)':dts='if(gt(N,10),DTS+1000000000,DTS)'"
    _make_with_ffmpeg(bench, "-c", "copy", "-bsf:v", setting, "a.mkv")


def _make_backwards(bench: Bench) -> None:
    setting = "setts=pts='1000000-PTS':dts='N'"
    _make_with_ffmpeg(bench, "-c", "copy", "-bsf:v", setting, "a.mkv")


def _make_shape(bench: Bench) -> None:
    _make_with_ffmpeg(bench, "-c", "copy", "-aspect", "1000000:1", "a.mkv")


def _make_turn(bench: Bench) -> None:
    """Write an MP4 file with a display matrix that is not a rotation."""
    content = bench.materials.get("lr.mp4").read_bytes()
    matrix = content.index(b"tkhd") + 44
    bench.write("a.mkv", content[:matrix] + b"\x7f\xff\xff\xff" * 9 + content[matrix + 36 :])


def _make_external(bench: Bench) -> None:
    """Write an MP4 file that refers to one of the victim's files for its samples."""
    content = bench.materials.get("lr.mp4").read_bytes()
    place = str(bench.victim / "thesis.txt").encode()
    assert b"url \0\0\0\1" in content
    content = content.replace(b"url \0\0\0\1", b"url \0\0\0\0")
    bench.write("a.mkv", content + place)


def _make_streams(bench: Bench) -> None:
    _make_with_ffmpeg(bench, *("-map", "0:v") * 100, "-c", "copy", "-t", "0.2", "a.mkv")


def _make_truncated(bench: Bench) -> None:
    content = bench.materials.get("lr.mkv").read_bytes()
    bench.write("a.mkv", content[: len(content) // 2] + bytes(100_000))


_CONTAINERS: dict[str, Callable[[Bench], None]] = {
    "subtitles": _make_many_lines,
    "styles": _make_styles,
    "attachments": _make_attachments,
    "tags": _make_tags,
    "chapters": _make_chapters,
    "gap": _make_gap,
    "backwards": _make_backwards,
    "shape": _make_shape,
    "turn": _make_turn,
    "external": _make_external,
    "streams": _make_streams,
    "truncated": _make_truncated,
}


def _attack_container(bench: Bench, name: str) -> None:
    """Probe a recording, enhance it to Matroska and MP4, and read it from stdin."""
    bench.copy("lr.mkv", "hr.mkv")
    _CONTAINERS[name](bench)
    allowed = (0, 1, 2)
    bench.attack("probe", "a.mkv", status=allowed)
    bench.attack("run", "a.mkv", *_RUN, "out.mkv", status=allowed)
    bench.attack("run", "a.mkv", *_RUN, "out.mp4", status=allowed)
    bench.attack("probe", "-", stdin=bench.folder / "a.mkv", status=allowed)
    if (bench.folder / "out.mkv").exists():
        bench.attack("report", "out.mkv", "-o", "out.html", status=allowed)


_STDIN: dict[str, Callable[[Bench], bytes]] = {
    "garbage": lambda bench: bytes(range(256)) * 4000,
    "gzip": lambda bench: b"\x1f\x8b\x08" + zlib.compress(bytes(_MIB)),
    "half": lambda bench: bench.materials.get("lr.mkv").read_bytes()[:3000],
    "mp4": lambda bench: bench.materials.get("lr.mp4").read_bytes()[:-2000],
    "y4m": lambda bench: _Y4M["endless-header"],
    "playlist": lambda bench: f"#EXTM3U\n#EXTINF:1,\n{bench.victim}/film.mp4\n".encode(),
    "json": lambda bench: json.dumps({"a": 1}).encode(),
}


def _attack_stdin(bench: Bench, name: str) -> None:
    bench.copy("hr.mkv", "lr.mkv")
    given = bench.write("given", _STDIN[name](bench))
    bench.attack("run", "-", *_RUN, "out.mkv", shell='cat given | "$@"', status=(0, 1, 2))
    bench.attack("plan", "lr.mkv", "--ref-stream", "-", *PLAIN, stdin=given, status=(0, 2))


CASES = (
    *(
        Case(
            f"image-{name}",
            "parsers",
            f"{name} with malicious contents",
            partial(_attack_picture, name=name),
            name == "script.png",
        )
        for name in _PICTURES
    ),
    *(
        Case(f"y4m-{name}", "parsers", f"YUV4MPEG: {name}", partial(_attack_y4m, name=name))
        for name in _Y4M
    ),
    *(
        Case(
            f"container-{name}",
            "parsers",
            f"a container with malicious {name}",
            partial(_attack_container, name=name),
        )
        for name in _CONTAINERS
    ),
    *(
        Case(f"stdin-{name}", "parsers", f"{name} on stdin", partial(_attack_stdin, name=name))
        for name in _STDIN
    ),
)
