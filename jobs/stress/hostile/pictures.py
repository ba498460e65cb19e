"""Pictures and recordings that claim a huge size, or that contain huge or malicious metadata."""

from __future__ import annotations

import struct
import zlib
from functools import partial

from jobs.stress.hostile.bench import PLAIN, Bench, Case

_SIDE = 32
_TEXT = b"a\0\0" + zlib.compress(b"x" * (70 << 20))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _make_png(before: bytes = b"", size: tuple[int, int] = (_SIDE, _SIDE), depth: int = 8) -> bytes:
    """Return a black PNG whose header claims `size`, with the chunks `before` before its pixels."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, 2, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(bytes((3 * _SIDE + 1) * _SIDE)))
    return b"\x89PNG\r\n\x1a\n" + head + before + pixels + _chunk(b"IEND", b"")


def _make_bomb() -> bytes:
    """Return a PNG of 17000 x 17000 pixels that is compressed to 40 kB."""
    rows = zlib.compress(bytes((17000 // 8 + 1) * 17000), 9)
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 17000, 17000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _make_bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + head + bytes(64)


def _make_tiff(width: int, height: int, *, loops: bool = False) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(278, 4, 1, height), (279, 4, 1, 64)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    following = 8 if loops else 0
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following)


def _make_jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xd9"


def _make_exr(width: int) -> bytes:
    window = struct.pack("<iiii", 0, 0, width - 1, width - 1)
    head = b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0" + struct.pack("<I", 19)
    head += b"R\0" + struct.pack("<IIII", 2, 0, 1, 1) + b"\0"
    head += b"compression\0compression\0\x01\0\0\0\0"
    for name in (b"dataWindow", b"displayWindow"):
        head += name + b"\0box2i\0" + struct.pack("<I", 16) + window
    return head + b"lineOrder\0lineOrder\0\x01\0\0\0\0\0" + bytes(64)


def _make_riff(kind: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + kind + b"LIST" + struct.pack("<I", 0x7FFFFFFF)


_LARGEST = 65535
_FILES: dict[str, bytes] = {
    "text.png": _make_png(_chunk(b"zTXt", _TEXT)),
    "international.png": _make_png(_chunk(b"iTXt", b"a\0\1\0\0\0" + _TEXT[3:])),
    "profile.png": _make_png(_chunk(b"iCCP", _TEXT)),
    "texts.png": _make_png(_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * (1 << 19))) * 200),
    "exif.png": _make_png(_chunk(b"eXIf", b"MM\0*" + b"\xff" * 40)),
    "escape.png": _make_png(_chunk(b"tEXt", b"Title\0\x1b]0;evil\x07")),
    "claim.png": _make_png(size=(_LARGEST, _LARGEST)),
    "claim-most.png": _make_png(size=(0x7FFFFFFF, 0x7FFFFFFF)),
    "claim-none.png": _make_png(size=(0, 0)),
    "bomb.png": _make_bomb(),
    "claim.bmp": _make_bmp(_LARGEST, _LARGEST),
    "claim.tif": _make_tiff(_LARGEST, _LARGEST),
    "loop.tif": _make_tiff(32, 32, loops=True),
    "claim.jpg": _make_jpeg(_LARGEST, _LARGEST),
    "claim.exr": _make_exr(_LARGEST),
    "claim.avi": _make_riff(b"AVI "),
    "header.mkv": b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 100,
    "header.mp4": struct.pack(">I", 1) + b"ftyp" + b"\xff" * 100,
    "table.mp4": struct.pack(">I", 16) + b"ftypisom\0\0\0\0" + struct.pack(">I", 0) + b"moov"
    + struct.pack(">I", 0xFFFFFFFF) + b"stts" + b"\xff" * 64,
    "zero.y4m": b"YUV4MPEG2 W999999999 H999999999 F1:1\nFRAME\n" + bytes(64),
    "large.y4m": b"YUV4MPEG2 W65535 H65535 F1:1 C444p16\nFRAME\n" + bytes(64),
}  # fmt: skip


def _attack_file(bench: Bench, name: str) -> None:
    bench.copy("large.png", "hr.mkv")
    bench.write(name, _FILES[name])
    bench.write(f"frames/{name}", _FILES[name])
    bench.attack("probe", name)
    if name.endswith(".png"):
        bench.attack("probe", "frames")
        return
    reference = "hr.mkv" if name.endswith((".mkv", ".mp4", ".avi", ".y4m")) else "large.png"
    bench.attack("plan", name, "--ref-stream", reference, *PLAIN, status=(0, 1, 2))


def _attack_reference(bench: Bench, name: str) -> None:
    """Use a hostile file as the reference and as the ground truth."""
    bench.copy("small.png")
    bench.write(name, _FILES[name])
    bench.attack("plan", "small.png", "--ref-stream", name, *PLAIN)
    bench.attack("evaluate", "small.png", "--ground-truth", name, "-q", status=(0, 1, 2))


CASES = (
    *(
        Case(
            f"picture-{name}",
            "pictures",
            f"{name}, {len(content)} bytes",
            partial(_attack_file, name=name),
            name in ("text.png", "claim.png"),
        )
        for name, content in _FILES.items()
    ),
    *(
        Case(
            f"reference-{name}",
            "pictures",
            f"{name} as reference and ground truth",
            partial(_attack_reference, name=name),
        )
        for name in ("text.png", "claim.png", "bomb.png", "claim.exr", "large.y4m")
    ),
)
