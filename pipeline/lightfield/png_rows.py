"""PNG files too large for memory, written row by row."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.lightfield.packing import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2
_UP = 2
"""Filter type: each byte less the one above (PNG specification, section 9)."""
_BLOCK = 64
"""Rows compressed at a time."""


def save_rows(path: Path, rgb: Pixels) -> None:
    """Write uint8 or uint16 H x W x 3 RGB as PNG; `rgb` may be mapped from a file."""
    height, width = rgb.shape[:2]
    bits = 8 * rgb.dtype.itemsize
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _RGB, 0, 0, 0))
        packer = zlib.compressobj(1)
        above = np.zeros((1, width * 3 * rgb.dtype.itemsize), np.uint8)
        for top in range(0, height, _BLOCK):
            block = np.ascontiguousarray(rgb[top : top + _BLOCK]).astype(
                rgb.dtype.newbyteorder(">"), copy=False
            )
            rows = block.reshape(len(block), -1).view(np.uint8)
            filtered = np.full((len(rows), rows.shape[1] + 1), _UP, np.uint8)
            filtered[:, 1:] = rows - np.concatenate((above, rows[:-1]))
            above = rows[-1:]
            _chunk(file, b"IDAT", packer.compress(filtered.tobytes()))
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))
