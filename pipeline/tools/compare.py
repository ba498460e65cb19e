"""Combine two or three recordings, with labels, into one video, GIF or picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pipeline.errors import InputError, PairingError, count_items
from pipeline.ledger.durable import staging_folder
from pipeline.media.join.capabilities import check_container, check_times
from pipeline.media.join.remux import join_segments
from pipeline.media.pictures.label import draw_text
from pipeline.media.read.frames import Frame, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import choose_encoding
from pipeline.media.write.segment import SegmentWriter
from pipeline.paths import check_new_file, check_not_read
from pipeline.pixels import Picture, to_8_bit
from pipeline.progress import SILENT, Count, Reporter
from pipeline.schema.clip import Clip, VideoClip

Mode = Literal["side", "wipe", "difference"]

TOLERANCE = 0.51  # fraction of a frame's duration by which the recordings' times may differ
SWEEP = 4.0  # seconds that a wipe's divider takes to move to the right and back
GAIN = 8  # amplification of differences, which are drawn around mid-grey
MOST_GIF_FRAMES = 300
# Limits on how long a GIF shows a frame, in hundredths of a second: players show a frame for longer
# if its time is shorter, and the file stores 16 bits.
SHORTEST_PAUSE, LONGEST_PAUSE = 2, 65535
VIDEOS = (".mp4", ".mov", ".mkv", ".m4v")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def draw_label(picture: Picture, text: str) -> Picture:
    """Draw `text` at the bottom left of a picture, in place if possible; return the picture."""
    picture = np.ascontiguousarray(picture)
    size = max(0.35, min(0.6, picture.shape[1] / 700))
    draw_text(picture, text, (10, picture.shape[0] - 12), size)
    return picture


def compose_frame(
    pictures: list[Picture], labels: list[str], mode: Mode, divider: float
) -> Picture:
    """Return two or three pictures of equal size combined into one, with labels.

    The mode `difference` adds a third pane with the first picture minus the second. `divider`
    (0..1) is the position of a wipe's divider.
    """
    if mode == "wipe":
        left, right = (
            draw_label(p.copy(), t) for p, t in zip(pictures[:2], labels[:2], strict=True)
        )
        column = round(left.shape[1] * divider)

        # the pictures are labelled before they are joined, so the divider cuts the labels, too
        shown = np.concatenate((left[:, :column], right[:, column:]), axis=1)
        shown[:, max(0, column - 1) : column + 1] = 255
        return np.ascontiguousarray(shown)

    panes = [draw_label(p.copy(), t) for p, t in zip(pictures, labels, strict=True)]
    if mode == "difference":
        panes.append(
            draw_label(draw_difference(*pictures[:2]), f"{labels[0]} - {labels[1]}, x{GAIN}")
        )
    return np.concatenate(panes, axis=1)


def draw_difference(first: Picture, second: Picture) -> Picture:
    """Return `first` minus `second`, amplified by GAIN around mid-grey."""
    away = first.astype(np.int16) - second.astype(np.int16)
    return np.asarray(np.clip(128 + GAIN * away, 0, 255), np.uint8)


def read_together(clips: list[Clip]) -> Iterator[tuple[int, list[Picture]]]:
    """Yield the pts of each frame of the first clip, and the pictures of all clips at its time.

    All pictures are enlarged to the largest height and width of any clip. Raises PairingError if a
    clip has no frame at the time of one of the first clip's frames.
    """
    height = max(_upright_size(clip)[0] for clip in clips)
    width = max(_upright_size(clip)[1] for clip in clips)
    others = [_TimedReader(clip) for clip in clips[1:]]

    for frame in read_frames(clips[0]):
        at = clips[0].seconds(frame.pts)
        found = [frame, *(other.at(at) for other in others)]
        pictures = [
            _fit_picture(each, clip, height, width) for each, clip in zip(found, clips, strict=True)
        ]
        yield frame.pts, pictures


class _TimedReader:
    """Reads the frames of a recording at ascending times."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._frames = read_frames(clip)
        self._now: Frame | None = next(self._frames, None)
        self._next: Frame | None = next(self._frames, None)

    def at(self, seconds: float) -> Frame:
        """Return the frame nearest to `seconds`; raises PairingError if it is too far away."""
        clip = self._clip
        while (
            self._now is not None
            and self._next is not None
            and abs(clip.seconds(self._next.pts) - seconds)
            <= abs(clip.seconds(self._now.pts) - seconds)
        ):
            self._now = self._next
            self._next = next(self._frames, None)

        near = TOLERANCE / float(clip.frame_rate or 25)
        if self._now is None or abs(clip.seconds(self._now.pts) - seconds) > near + 1e-3:
            raise PairingError(
                f"{clip.path} has no frame at {seconds:.3f} s, but the first recording does; pass "
                "recordings with the same timestamps"
            )
        return self._now


def _upright_size(clip: Clip) -> tuple[int, int]:
    """Return the height and width of the clip's frames once they are rotated upright."""
    size = clip.height, clip.width
    return size if clip.rotation % 180 == 0 else (size[1], size[0])


def _fit_picture(frame: Frame, clip: Clip, height: int, width: int) -> Picture:
    """Return a frame as an upright 8-bit picture of `height` x `width` pixels."""
    turned = np.rot90(to_8_bit(frame.rgb), round(clip.rotation / 90) % 4)
    picture: Picture = np.ascontiguousarray(turned, np.uint8)
    if picture.shape[:2] != (height, width):
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(resized, np.uint8)
    return picture


def write_comparison(
    inputs: list[str],
    output: Path,
    *,
    mode: Mode,
    labels: list[str],
    at: float | None = None,
    progress: Reporter = SILENT,
) -> int:
    """Write the comparison of `inputs` to `output`, and return its number of frames.

    The suffix of `output` decides what is written: a video with the times and the sound of the
    first recording, a GIF, or a picture of the frame at `at` seconds (None means the first). Raises
    PairingError if the recordings' times differ, and InputError if a GIF would be too long or if
    the first recording ends before `at`.
    """
    clips = [probe(path) for path in inputs]
    suffix = output.suffix.lower()
    first = clips[0]
    index = scan(first, distinct=suffix in VIDEOS)
    times = index.pts
    total = len(times)
    if at is not None:
        _check_time(at, first, times)
    if suffix in VIDEOS:
        check_times(first, times, output)
    if suffix == ".gif" and total > MOST_GIF_FRAMES:
        raise InputError(
            f"a GIF can have at most {MOST_GIF_FRAMES} frames, but the recordings have {total}; "
            "try an .mp4"
        )
    if suffix in PICTURES:
        # the number of frames that are read, because reading stops at the chosen frame
        total = 1 if at is None else sum(first.seconds(pts) <= at for pts in times)

    def compose(count: Count) -> Iterator[tuple[int, Picture]]:
        for done, (pts, pictures) in enumerate(read_together(clips), start=1):
            yield pts, compose_frame(pictures, labels, mode, _divider_at(first.seconds(pts)))
            count(done)

    # the file is written in a staging folder, so that a failure leaves nothing behind
    with progress.step("composing", total) as counter, staging_folder(output) as work:
        frames = compose(counter)
        made = work / f"made{suffix}"
        if suffix in PICTURES:
            count = _write_picture(frames, first, made, at)
        elif suffix == ".gif":
            count = _write_gif(frames, first, index.end_pts, made)
        else:
            count = _write_video(frames, first, made)
        made.replace(output)
    return count


def _check_time(at: float, clip: Clip, times: Sequence[int]) -> None:
    """Raise InputError if the time `at` (seconds) is outside the recording or not a number."""
    begin, end = clip.seconds(times[0]), clip.seconds(times[-1])
    margin = 1 / float(clip.frame_rate or 25)
    if not begin - margin <= at <= end + margin:
        raise InputError(
            f"--at {at:g} is outside {clip.path}, which has frames from {begin:.3f} to {end:.3f} s"
        )


def _divider_at(seconds: float) -> float:
    """Return the position (0..1) of a wipe's divider at the given time."""
    return 0.5 - 0.45 * math.cos(2 * math.pi * seconds / SWEEP)


def _write_picture(
    frames: Iterator[tuple[int, Picture]], clip: Clip, path: Path, at: float | None
) -> int:
    from PIL import Image

    chosen: Picture | None = None
    for pts, picture in frames:
        if chosen is None or at is None or clip.seconds(pts) <= at + 1e-6:
            chosen = picture
        if at is None or clip.seconds(pts) >= at - 1e-6:
            break

    assert chosen is not None
    Image.fromarray(chosen).save(path)
    return 1


def _write_gif(frames: Iterator[tuple[int, Picture]], clip: Clip, end_pts: int, path: Path) -> int:
    from PIL import Image

    shown: list[int] = []
    pictures: list[Image.Image] = []
    for pts, picture in frames:
        shown.append(pts)
        pictures.append(Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE))

    pauses = _list_pauses([*shown, end_pts], clip.time_base)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=pauses, loop=0)
    return len(pictures)


def _list_pauses(pts: Sequence[int], time_base: Fraction) -> list[int]:
    """Return how long a GIF shows each frame, in milliseconds; the last of `pts` is the end.

    GIFs count in hundredths of a second. The frames' times are rounded, not their durations, so
    that errors do not add up.
    """
    ticks = [round(100 * each * time_base) for each in pts]
    return [10 * min(max(b - a, SHORTEST_PAUSE), LONGEST_PAUSE) for a, b in pairwise(ticks)]


def _write_video(frames: Iterator[tuple[int, Picture]], clip: Clip, path: Path) -> int:
    encoding = choose_encoding(clip, codec="libx264", pix_fmt="yuv420p")
    # pictures are rotated upright before they are composed
    upright = clip.model_copy(update={"rotation": 0})
    check_container(upright, path, encoding)

    pts, picture = next(frames)
    # 4:2:0 needs even sizes
    height, width = (side // 2 * 2 for side in picture.shape[:2])

    segment = path.with_suffix(".nut")
    count = 0
    with SegmentWriter(segment, upright, encoding, width, height) as writer:
        for at, shown in chain([(pts, picture)], frames):
            writer.write(np.ascontiguousarray(shown[:height, :width]), at)
            count += 1
    join_segments(upright, [segment], path, encoding)
    return count


def check_comparison(inputs: tuple[str, ...], output: Path, mode: Mode, *, force: bool) -> None:
    """Raise InputError unless a comparison of `inputs` in `mode` can be written to `output`."""
    if not 2 <= len(inputs) <= 3:
        raise InputError(
            f"{count_items(len(inputs), 'recording')} cannot be compared; pass two or three, as in "
            "`pipeline compare A B -o side.mp4`"
        )
    if mode != "side" and len(inputs) != 2:
        raise InputError(f"--mode {mode} compares two recordings, not three; try --mode side")
    if output.suffix.lower() not in (*VIDEOS, *PICTURES, ".gif"):
        raise InputError(
            f"the output {output} must end in {', '.join((*VIDEOS, *PICTURES))} or .gif; try "
            "side.mp4"
        )

    if any(output.resolve() == Path(path).resolve() for path in inputs):
        raise InputError(
            f"the output {output} is also an input, which must not be replaced; try another -o"
        )
    check_not_read(output, inputs)
    check_new_file(output, force=force)

    if output.suffix.lower() in VIDEOS and not isinstance(probe(inputs[0]), VideoClip):
        raise InputError(
            f"the output {output} needs a video as the first recording, but {inputs[0]} contains "
            "pictures; try .gif or .png"
        )


def make_labels(inputs: tuple[str, ...], text: str | None) -> list[str]:
    """Return a label for each recording, from text such as "A,B" or from the files' names.

    Raises InputError if the text has too few or too many labels.
    """
    if text is not None:
        labels = [label.strip() for label in text.split(",")]
        if len(labels) != len(inputs):
            raise InputError(
                f"--labels has {count_items(len(labels), 'label')} for {len(inputs)} recordings; "
                "pass one for each, separated by commas"
            )
        return labels

    stems = [Path(path).stem for path in inputs]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{Path(path).absolute().parent.name}/{Path(path).stem}" for path in inputs]
