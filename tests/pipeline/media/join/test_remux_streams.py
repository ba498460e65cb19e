"""Streams that containers store in different ways are copied completely."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
import pytest

from jobs.media.cut import cut_beginning
from pipeline.media.join import verify
from pipeline.media.join.capabilities import container_notes
from pipeline.media.join.remux import join_segments
from pipeline.media.read.probe import probe, scan
from pipeline.schema.clip import FrameIndex
from tests.support.clips import (
    FAST,
    HEIGHT,
    WIDTH,
    find_differences,
    make_segments,
    make_video,
    picture,
    read_packets,
    remake_video,
)

QUIET_X265 = {"x265-params": "log-level=none:pools=1"}


def samples_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_a_transport_streams_sound_goes_into_other_containers(tmp_path: Path, name: str) -> None:
    # AAC has a header before each frame there, and in no other container
    path = make_video(tmp_path / "in.mp4", extras=True)
    joined = tmp_path / "in.ts"
    joined.write_bytes(cut_beginning(path, 40, "mpegts"))
    out = remake_video(joined, tmp_path, name=name)
    clip = probe(str(joined))
    assert find_differences(clip, out) == []
    assert [key for key in read_packets(out) if key[1] == "audio"]
    np.testing.assert_array_equal(samples_of(out), samples_of(joined))


@pytest.mark.parametrize(
    ("codec", "name"), [("alac", "out.mp4"), ("alac", "out.mov"), ("flac", "out.mp4")]
)
def test_the_last_of_the_sound_comes_through(tmp_path: Path, codec: str, name: str) -> None:
    # Matroska does not say how long a packet of ALAC lasts, and MP4 would leave the last one out
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream(codec, rate=48000)
        layout = "s16p" if codec == "alac" else "s16"
        sound.format, sound.layout = layout, "mono"
        for number in range(40):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number))))
        wave = (9999 * np.sin(np.arange(48000) * 0.05))[None].astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave, format=layout, layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*sound.encode(frame), *sound.encode(None), *video.encode(None)])
    out = remake_video(path, tmp_path, name=name)
    assert find_differences(probe(str(path)), out) == []
    np.testing.assert_array_equal(samples_of(out), samples_of(path))


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize(("codec", "options"), [("libx264", {}), ("libx265", QUIET_X265)])
def test_a_transport_streams_second_programme_goes_into_other_containers(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    # H.264 and H.265 have start codes there, and lengths in other containers
    sources = [
        make_video(tmp_path / "a.mp4"),
        make_video(tmp_path / "b.mkv", codec=codec, options=options),
    ]
    joined = tmp_path / "in.ts"
    with ExitStack() as stack:
        target = stack.enter_context(av.open(str(joined), "w"))
        containers = [stack.enter_context(av.open(str(source))) for source in sources]
        copies = [target.add_stream_from_template(c.streams.video[0]) for c in containers]
        for container, copy in zip(containers, copies, strict=True):
            for packet in container.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    target.mux(packet)
    out = remake_video(joined, tmp_path, name=name)
    assert find_differences(probe(str(joined)), out) == []
    assert pictures_of(out) == pictures_of(joined)


def pictures_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=1)]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_part_before_the_sound_begins_is_whole_without_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "in.mkv"
    with ExitStack() as stack:
        source = stack.enter_context(av.open(str(make_video(tmp_path / "a.mkv", extras=True))))
        target = stack.enter_context(av.open(str(path), "w"))
        kept = [source.streams.video[0], source.streams.audio[0]]
        copies = [target.add_stream_from_template(stream) for stream in kept]
        for packet in source.demux(kept):
            late = packet.stream is kept[1]
            if packet.size and not (late and packet.pts * packet.time_base < 1):
                packet.stream = copies[late]
                target.mux(packet)
    clip, out = probe(str(path)), tmp_path / name
    index = scan(clip)
    part = FrameIndex(pts=index.pts[:10], keys=index.keys[:1], end_pts=index.pts[10])
    join_segments(clip, make_segments(clip, FAST, tmp_path, length=10)[:1], out, FAST)
    assert verify.find_differences(clip, part, out, clip.width, clip.height) == []
    assert find_differences(clip, remake_video(path, tmp_path, name=f"whole-{name}")) == []


def test_a_note_names_pcm_in_mp4_as_unsupported_by_players(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("pcm_s24le", rate=48000)
        sound.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 480), np.int32), "s32", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*video.encode(av.VideoFrame.from_ndarray(picture(0))), *sound.encode(frame)])
        container.mux([*video.encode(None), *sound.encode(None)])
    clip = probe(str(path))
    note = "stream 1 is pcm_s24le, which few players support in .mp4; try .mov or .mkv"
    assert note in container_notes(clip, tmp_path / "out.mp4", FAST)
    assert note.replace(".mp4", ".mov") not in container_notes(clip, tmp_path / "out.mov", FAST)
    assert container_notes(clip, tmp_path / "out.mkv", FAST) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_sounds_whose_packets_share_times_are_lost_in_mp4_and_noted(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "in.asf"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("flac", rate=44100)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode(None))
        for block in range(20):
            wave = np.sin(np.arange(1024) * 0.05 + block) * 8000
            part = av.AudioFrame.from_ndarray(
                np.repeat(wave.astype(np.int16)[None], 2, axis=1), format="s16", layout="stereo"
            )
            part.rate, part.pts = 44100, 1024 * block
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    clip = probe(str(path))
    out = remake_video(path, tmp_path, name=name)
    assert find_differences(clip, out) == []
    notes = " ".join(container_notes(clip, out, FAST))
    assert ("flac" in notes) == (name != "out.mkv")
