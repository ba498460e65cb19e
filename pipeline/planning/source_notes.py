"""Notes on a run's recordings: missing frames, assumed colours and rates, and unread files."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.media.join.capabilities import VIDEO_SUFFIXES
from pipeline.media.pictures.stills import DEVELOPED_SUFFIXES, SUFFIXES
from pipeline.media.read.probe import is_rate_assumed
from pipeline.planning.sources import Sources
from pipeline.schema.clip import FrameIndex, LightField, Recording, Stills, VideoClip

# Suffixes of picture and video files that may be left unread in a folder of pictures.
UNREAD = VIDEO_SUFFIXES | {
    ".3fr", ".arw", ".cin", ".cr2", ".cr3", ".dng", ".dpx", ".erf", ".exr", ".hdr", ".heics",
    ".heifs", ".iiq", ".j2k", ".jfif", ".jp2", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".mrw",
    ".nef", ".nrw", ".orf", ".pam", ".pbm", ".pef", ".pfm", ".pnm", ".psb", ".psd", ".raf", ".raw",
    ".rw2", ".sgi", ".sr2", ".srw", ".tga", ".wdp", ".x3f",
}  # fmt: skip

# A gap is noted if it lasts at least LEAST_GAP seconds, and MANY_INTERVALS median frame intervals.
LEAST_GAP = 10.0
MANY_INTERVALS = 20


def list_source_notes(sources: Sources, frames: FrameIndex) -> list[str]:
    """Return notes on missing frames, assumed colours and frame rates, and unread files.

    For a light field, the list is empty.
    """
    if isinstance(sources.lr, LightField):
        return []

    notes = []
    if frames.undecodable:
        notes.append(
            "input: it begins between key frames; frames at its start that need earlier frames to "
            f"be decoded are left out ({frames.undecodable})"
        )
    if isinstance(sources.lr, VideoClip):
        notes += _list_gaps(sources.lr, frames)

    for name, clip in (("input", sources.lr), ("reference", sources.ref)):
        if isinstance(clip, VideoClip) and clip.colour.guessed:
            notes.append(
                f"{name}: its colour is not tagged; {clip.colour.used_matrix} "
                f"{clip.colour.used_range} is assumed from its size"
            )
        if isinstance(clip, VideoClip) and is_rate_assumed(clip):
            notes.append(
                f"{name}: it does not state its frame rate; 25 frames per second are assumed; for "
                "another rate, convert it first with ffmpeg -framerate RATE -i IN -c copy OUT.mp4"
            )
        notes += _list_unread_files(name, clip)
    return notes


def _list_gaps(lr: VideoClip, frames: FrameIndex) -> list[str]:
    """Return a note about long gaps between frames, if any."""
    seconds = [lr.seconds(pts) for pts in frames.pts]
    if len(seconds) < 3:
        return []

    least = max(LEAST_GAP, MANY_INTERVALS * float(np.median(np.diff(seconds))))
    gaps = [(before, after) for before, after in pairwise(seconds) if after - before >= least]
    if not gaps:
        return []

    before, after = max(gaps, key=lambda gap: gap[1] - gap[0])
    more = f", the longest of {len(gaps)} gaps" if len(gaps) > 1 else ""
    return [
        f"input: it has no frames for {after - before:.1f} s, from {before:.3f} to {after:.3f} s"
        f"{more}; the output keeps the gaps"
    ]


def _list_unread_files(name: str, clip: Recording) -> list[str]:
    """Return a note about pictures and videos that are not read, if the clip's folder has any."""
    if not isinstance(clip, Stills) or not Path(clip.path).is_dir():
        return []

    suffixes = [
        entry.suffix.lower()
        for entry in sorted(Path(clip.path).iterdir())
        if entry.is_file() and not entry.name.startswith(".")
    ]
    # raw photographs are read only if there are no other pictures
    read = DEVELOPED_SUFFIXES if DEVELOPED_SUFFIXES.intersection(suffixes) else SUFFIXES
    unread = Counter(suffix for suffix in suffixes if suffix in UNREAD - read)
    if not unread:
        return []

    listed = ", ".join(f"{count} {suffix}" for suffix, count in unread.most_common())
    return [f"{name}: files in its folder that are not read: {listed}; convert pictures to PNG"]
