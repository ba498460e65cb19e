from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.media.join import verify
from pipeline.media.join.remux import join_segments
from pipeline.media.read.probe import probe, scan
from pipeline.schema.clip import Clip
from tests.support.clips import FAST, find_differences, make_segments, make_video, remake_video


def drop_frame(clip: Clip, folder: Path) -> Path:
    files = make_segments(clip, FAST, folder, length=13)
    join_segments(clip, files[:-1], folder / "bad.mp4", FAST)
    return folder / "bad.mp4"


def other_sound(clip: Clip, folder: Path) -> Path:
    out = remake_video(Path(clip.path), folder, name="bad.mp4")
    with av.open(str(out)) as container:
        packet = [p for p in container.demux(audio=1) if p.size][5]
    assert packet.pos is not None
    data = bytearray(out.read_bytes())
    data[packet.pos + 9] ^= 255
    out.write_bytes(bytes(data))
    return out


def no_sound(clip: Clip, folder: Path) -> Path:
    silent = clip.model_copy(update={"other_streams": (), "chapters": 0})
    files = make_segments(clip, FAST, folder)
    join_segments(silent, files, folder / "bad.mp4", FAST)
    return folder / "bad.mp4"


def no_chapters(clip: Clip, folder: Path) -> Path:
    path = make_video(folder / "plain.mkv")
    return remake_video(path, folder, name="bad.mp4")


def other_tags(clip: Clip, folder: Path) -> Path:
    colour = clip.colour.model_copy(update={"matrix": 1, "range": 2, "primaries": 1})
    changed = clip.model_copy(update={"colour": colour, "sample_aspect_ratio": Fraction(3, 2)})
    files = make_segments(changed, FAST, folder)
    join_segments(changed, files, folder / "bad.mp4", FAST)
    return folder / "bad.mp4"


def cut_off(clip: Clip, folder: Path) -> Path:
    out = remake_video(Path(clip.path), folder, name="bad.mp4")
    out.write_bytes(out.read_bytes()[:3000])
    return out


def shifted(clip: Clip, folder: Path) -> Path:
    late = make_video(folder / "late.mp4", pts=[0, 1, 2, 3, 4, 6, *range(7, 41)], extras=True)
    return remake_video(late, folder, name="bad.mp4")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (drop_frame, ["it has 39 frames, expected 40"]),
        (
            shifted,
            [
                "it has 35 frames at other times than expected, the first at 6/25 s instead of "
                "1/5 s",
                "it ends at",
            ],
        ),
        (other_sound, ["the packets of audio fra"]),
        (no_sound, ["its other streams are none"]),
        (no_chapters, ["it has 0 chapters, expected 2"]),
        (other_tags, ["sample aspect ratio is 3/2, expected 1", "colour matrix is 1, expected 2",
                      "colour range is 2, expected 0", "colour primaries is 1, expected 2"]),
        (cut_off, ["the output cannot be read back"]),
    ],
)  # fmt: skip
def test_every_unfaithful_output_is_found(
    tmp_path: Path, spoil: Callable[[Clip, Path], Path], says: list[str]
) -> None:
    clip = probe(str(make_video(tmp_path / "in.mp4", extras=True)))
    found = find_differences(clip, spoil(clip, tmp_path))
    for expected in says:
        assert any(line.startswith(expected) for line in found), found


def test_another_size_and_rotation_are_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4")
    turned = probe(str(path)).model_copy(update={"rotation": 90})
    found = verify.find_differences(turned, scan(turned), remake_video(path, tmp_path), 192, 128)
    assert found == ["size is (96, 64), expected (192, 128)", "rotation is 0, expected 90"]
