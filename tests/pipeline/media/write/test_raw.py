"""The pixel formats in which frames are streamed."""

from __future__ import annotations

import pytest

from pipeline.media.write.raw import StreamForm, choose_stream_pix_fmt


@pytest.mark.parametrize(
    ("pix_fmt", "form", "expected"),
    [
        ("yuva420p", "y4m", "yuv420p"),
        ("bgra", "y4m", "yuv444p"),  # 8-bit pictures with transparency
        ("gbrap16le", "y4m", "yuv444p12le"),
        ("bgr0", "rawvideo", "rgb24"),
        ("gbrap16le", "rawvideo", "rgb48le"),
    ],
)
def test_streams_hold_rgb_and_the_colours_of_transparent_frames(
    pix_fmt: str, form: StreamForm, expected: str
) -> None:
    assert choose_stream_pix_fmt(pix_fmt, form) == expected
