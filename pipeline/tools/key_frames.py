"""Choose and write the frames that would help most as references, for `pipeline keyframes`."""

from __future__ import annotations

import math
import os
import shlex
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError, already_there, count_items, no_folder
from pipeline.ledger.durable import fsync_tree, is_empty_folder, publish_output, staging_folder
from pipeline.media.pictures.exr import SUFFIX as EXR
from pipeline.media.pictures.key_frames import (
    SIDECAR,
    KeyFrame,
    KeyFrames,
    find_edited,
    read_key_frames,
)
from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.detect_interlacing import choose_deinterlacing
from pipeline.pairing.choose_key_frames import (
    Wish,
    choose_key_frames,
    find_farthest,
    list_scenes,
    measure_likeness,
    note_sharpness,
)
from pipeline.pairing.cuts import survey_frames
from pipeline.pairing.geometry import turn_picture
from pipeline.paths import check_not_read, sha256
from pipeline.progress import SILENT, Count, Reporter
from pipeline.recording import check_recording, open_frames, open_recording, read, scan
from pipeline.schema.clip import Clip, LightField, Stills
from pipeline.schema.model import Model
from pipeline.schema.parsing import parse_seconds
from pipeline.schema.settings import PairingSettings
from pipeline.tools.weak_frames import WeakFrames, find_weak_frames

Format = Literal["png", "tiff", "exr"]
SUFFIXES: dict[Format, str] = {"png": ".png", "tiff": ".tif", "exr": EXR}

MOST_PARTS = 2000  # largest number of key frames that --every and --i-frames may choose


@dataclass(frozen=True)
class Selection:
    """How key frames are selected; at most one field is set, except that `add` allows `count`."""

    count: int | None = None
    every: float | None = None
    """Length in seconds of the parts of a scene, each of which gets one key frame."""
    at: str | None = None
    """Times in seconds or h:mm:ss, separated by commas."""
    i_frames: bool = False
    """Whether to select the key frames of the video stream itself."""
    add: Path | None = None
    """The output or plan of a finished run; selects the frames that its key frames helped least."""


class WrittenKeyFrame(Model):
    """A key frame that was written as a picture."""

    file: str
    frame: int
    pts: int
    seconds: float
    scene: int | None
    sha256: str
    """Digest of the file."""


class KeyFramesResult(Model):
    """The pictures that were written; the fields of `pipeline keyframes --json`."""

    output: str
    key_frames: tuple[WrittenKeyFrame, ...]
    frames: int
    """Number of frames in the recording."""
    scenes: int | None
    """Number of scenes in the recording; None if they were not detected."""
    likeness: float | None
    """Mean likeness (0 to 1) of all frames to their key frames; None if it was not measured."""
    next: str
    """The command that enhances the recording once these pictures have been enlarged."""
    add_to: str | None = None
    """The folder of a run's key frames to which these should be added; None without --add."""


@dataclass(frozen=True)
class _Chosen:
    """The numbers of the chosen frames in order, and the scenes and the likeness if known."""

    numbers: Sequence[int]
    scenes: Sequence[tuple[int, int]] | None = None
    likeness: float | None = None
    added: WeakFrames | None = None


def write_key_frames(
    source: str,
    output: Path,
    selection: Selection,
    *,
    shown_source: str | None = None,
    picture_format: Format = "png",
    force: bool = False,
    progress: Reporter = SILENT,
) -> KeyFramesResult:
    """Write the selected frames of `source` as pictures to the folder `output`, with a sidecar.

    `shown_source` is the recording's name in the suggested command, by default `source`. The folder
    appears only when it is complete. With `force`, it replaces an earlier folder of key frames,
    unless pictures in that folder have been edited. Raises InputError for invalid arguments, and
    StageError if a frame cannot be decoded.
    """
    _check_selection(selection)
    with progress.step("opening the recording"):
        clip = _open_clip(source)
        index = scan(clip)
    _check_output(output, clip, force=force)

    seconds = array("d", map(clip.seconds, index.pts))
    chosen = _choose(clip, index.pts, index.keys, seconds, selection, progress)
    key_frames = _name_key_frames(clip, index.pts, chosen, SUFFIXES[picture_format])
    with staging_folder(output) as work:
        finished = work / "finished"
        finished.mkdir()
        with progress.step("writing key frames", len(key_frames)) as count:
            key_frames = _write_pictures(clip, key_frames, finished, count)
        sidecar = KeyFrames(
            input=Path(os.path.abspath(clip.path)).name,  # noqa: PTH100 - links keep their names
            size_bytes=clip.size_bytes,
            fingerprint=clip.fingerprint,
            time_base=str(clip.time_base),
            key_frames=tuple(key_frames),
        )
        text = sidecar.model_dump_json(indent=1)
        (finished / SIDECAR).write_text(f"{text}\n", encoding="utf-8")
        fsync_tree(finished)
        publish_output(finished, output, work, force=force)

    scenes = chosen.scenes or [(0, len(seconds))]
    farthest = find_farthest(scenes, seconds, chosen.numbers)
    added = chosen.added
    return KeyFramesResult(
        output=str(output),
        key_frames=tuple(
            WrittenKeyFrame(**key.model_dump(), seconds=clip.seconds(key.pts)) for key in key_frames
        ),
        frames=len(seconds),
        scenes=None if chosen.scenes is None else len(chosen.scenes),
        likeness=chosen.likeness,
        next=added.command
        if added
        else _write_command(
            shown_source or source, output, farthest if len(key_frames) > 1 else 0.0
        ),
        add_to=added.folder if added else None,
    )


def _check_selection(selection: Selection) -> None:
    """Raise InputError if several fields of the selection are set, or the interval is invalid."""
    given = {
        "--count": selection.count is not None and selection.add is None,
        "--every": selection.every is not None,
        "--at": selection.at is not None,
        "--i-frames": selection.i_frames,
        "--add": selection.add is not None,
    }
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise InputError(
            f"{' and '.join(names)} are mutually exclusive; pass at most one of {', '.join(given)}"
        )
    if selection.every is not None and not 0 < selection.every < math.inf:
        raise InputError(
            f"--every is {selection.every:g}, but must be a finite number of seconds above 0, such "
            "as --every 2"
        )


def _open_clip(source: str) -> Clip:
    """Open a video or pictures as a run does; raises InputError for a light field."""
    recording = open_recording(source)
    if isinstance(recording, LightField):
        raise InputError(
            f"{source} is a light field, but key frames are chosen from a video or from pictures "
            "in order; use some of its views as references instead"
        )
    check_recording(recording)
    clip = choose_deinterlacing(recording, "auto")
    assert not isinstance(clip, LightField)
    return clip


def _check_output(output: Path, clip: Clip, *, force: bool) -> None:
    """Raise InputError if `output` cannot be written or must not be replaced."""
    check_not_read(output, clip.list_paths())
    if not output.absolute().parent.is_dir():
        raise no_folder(output.parent)
    if not os.path.lexists(output) or is_empty_folder(output):
        return

    stored = read_key_frames(output) if output.is_dir() else None
    if stored is None:
        raise InputError(
            f"{output} is not a folder of key frames (it has no {SIDECAR}), so it is not replaced; "
            "try another -o"
        )
    own = {SIDECAR, *(key.file for key in stored.key_frames)}
    for entry in sorted(output.iterdir()):
        if entry.name not in own or not entry.is_file() or entry.is_symlink():
            raise InputError(
                f"{output} is not replaced, because {entry.name} in it is not one of its key "
                "frames; try another -o"
            )
    if edited := len(find_edited(output, stored)):
        seem = "seems" if edited == 1 else "seem"
        raise InputError(
            f"{output} is not replaced, because {count_items(edited, 'picture')} in it {seem} to "
            "have been edited; try another -o, or delete the folder first"
        )
    if not force:
        raise already_there(output)


def _choose(
    clip: Clip,
    pts: Sequence[int],
    keys: Sequence[int],
    seconds: Sequence[float],
    selection: Selection,
    progress: Reporter,
) -> _Chosen:
    if selection.add is not None:
        weak = find_weak_frames(selection.add, clip, selection.count or 1, progress=progress)
        return _Chosen([bisect_left(pts, each) for each in weak.pts], added=weak)
    if selection.at is not None:
        return _Chosen(sorted({_find_frame(seconds, at) for at in _parse_times(selection.at)}))
    if selection.i_frames:
        wanted = set(keys)
        found = [number for number, each in enumerate(pts) if each in wanted]
        if not found:
            raise InputError(
                f"the stream of {clip.path} has no key frames for --i-frames to select; leave "
                "--i-frames out"
            )
        if len(found) > MOST_PARTS:
            raise InputError(
                f"the stream of {clip.path} has {len(found)} key frames, but --i-frames "
                f"selects at most {MOST_PARTS}; try --count"
            )
        return _Chosen(found)

    if selection.every is not None and seconds[-1] - seconds[0] > MOST_PARTS * selection.every:
        raise InputError(
            f"--every {selection.every:g} would choose more than {MOST_PARTS} key frames from "
            f"{seconds[-1] - seconds[0]:.0f} s; try a longer interval, or --count"
        )
    return _choose_by_content(clip, pts, Wish(selection.count, selection.every), progress)


def _choose_by_content(clip: Clip, pts: Sequence[int], wish: Wish, progress: Reporter) -> _Chosen:
    """Choose the frames that best represent all others; corrupt frames are left out."""
    numbers = {each: number for number, each in enumerate(pts)}
    sharpness = array("d")
    with progress.step("looking at all frames", len(pts)) as count:
        known = (frame for frame in read(clip, on_error="conceal") if frame.pts in numbers)
        look = survey_frames(note_sharpness(known, sharpness), cuts=True, count=count)
    if not look.pts:
        raise InputError(
            f"no frame of {clip.path} can be decoded; check that the recording is intact, or copy "
            "it again"
        )

    with progress.step("choosing key frames"):
        times = array("d", map(clip.seconds, look.pts))
        positions = choose_key_frames(look, times, sharpness, wish)
    return _Chosen(
        [numbers[look.pts[position]] for position in positions],
        list_scenes(pts, look.cuts),
        round(measure_likeness(look, positions), 4),
    )


def _parse_times(text: str) -> list[float]:
    try:
        return [parse_seconds(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--at is {text}, but must be times in seconds or h:mm:ss, separated by commas, such "
            "as --at 12.5,40"
        ) from error


def _find_frame(seconds: Sequence[float], at: float) -> int:
    """Return the number of the frame nearest to the time `at`.

    Raises InputError if the time is outside the recording by more than a frame's mean duration.
    """
    last = len(seconds) - 1
    margin = (seconds[last] - seconds[0]) / max(last, 1)
    if not seconds[0] - margin <= at <= seconds[last] + margin:
        raise InputError(
            f"--at {at:g} is outside the recording, which has frames from {seconds[0]:.3f} to "
            f"{seconds[last]:.3f} s"
        )
    after = min(bisect_left(seconds, at), last)
    before = max(after - 1, 0)
    return before if at - seconds[before] <= seconds[after] - at else after


def _name_key_frames(
    clip: Clip, pts: Sequence[int], chosen: _Chosen, suffix: str
) -> list[KeyFrame]:
    """Return the key frames with names for their files.

    Key frames of still pictures keep the pictures' names if these are unique, because a run matches
    them by name; all other names contain the frame's number and time.
    """
    stems = [f"key_{number:06d}_{clip.seconds(pts[number]):.3f}s" for number in chosen.numbers]
    if isinstance(clip, Stills):
        own = [Path(clip.files[number]).stem for number in chosen.numbers]
        stems = own if len(set(own)) == len(own) else stems

    starts = [first for first, _ in chosen.scenes or ()]
    return [
        KeyFrame(
            file=f"{stem}{suffix}",
            frame=number,
            pts=pts[number],
            scene=bisect_right(starts, number) - 1 if starts else None,
        )
        for stem, number in zip(stems, chosen.numbers, strict=True)
    ]


def _write_pictures(
    clip: Clip, key_frames: Sequence[KeyFrame], folder: Path, count: Count
) -> list[KeyFrame]:
    """Write the pictures, upright as in a player, and return the key frames with their digests."""
    written = []
    turns = round(clip.rotation / 90) % 4
    with closing(open_frames(clip, cache=1)) as reader:
        for done, key in enumerate(key_frames, 1):
            file = folder / key.file
            save_picture(file, turn_picture(reader.get(key.pts), turns))
            written.append(key.model_copy(update={"sha256": sha256(file)}))
            count(done, key.file)
    return written


def _write_command(source: str, output: Path, farthest: float) -> str:
    """Return the command for a run in which every frame can borrow from its scene's key frames.

    `farthest` is the largest distance in seconds between a frame and its nearest key frame.
    """
    words = ["pipeline", "run", source, "--ref-stream", str(output)]
    if farthest > PairingSettings.model_fields["max_ref_distance"].default:
        words += ["--max-ref-distance", f"{math.ceil(10 * farthest) / 10:g}"]
    return shlex.join(words)


def describe_key_frames(result: KeyFramesResult) -> str:
    """Return the result, and what to do next, as a few lines of text."""
    count = len(result.key_frames)
    key_frames = count_items(count, "key frame")
    lines = [f"{result.output}: {key_frames} of {count_items(result.frames, 'frame')}"]
    if result.scenes is not None and result.likeness is not None:
        served = len({key.scene for key in result.key_frames})
        lines.append(
            f"  scenes with a key frame: {served} of {result.scenes}; mean likeness of all "
            f"frames to their key frame: {result.likeness:.3f}"
        )
        if served < result.scenes and count > 1:  # a single key frame is used for all scenes
            lines.append("  frames of the other scenes will be up-sampled without a reference")

    lines.append("next: process these pictures with another program, and keep their names;")
    if result.key_frames[0].file.endswith(EXR):
        lines.append("  save them in this folder, EXR with display values from 0 to 1;")
    lines.append("  enlarge them all by the same factor, from 2 to 8; then run:")
    if result.add_to is not None:
        lines[-1] = f"  enlarge them like the files in {result.add_to}, move them there, then run:"
    lines.append(f"  {result.next}")
    return "\n".join(lines)
