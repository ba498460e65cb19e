"""Sound and subtitles of every kind into every container: `python -m jobs.media.sound_matrix`.

The program ffmpeg makes half a second of picture and one other stream in each container that takes
it; `--engine bicubic` enhances that into each output container, the whole and a part. Good is a
stream whose times, samples and texts FFmpeg's programs find unchanged, or one said to be lost.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from subprocess import run as call
from typing import NamedTuple

from jobs.machine import describe_machine

PICTURES = {
    "mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4",
    "ts": "libx264", "flv": "libx264", "mpg": "mpeg2video", "asf": "mpeg4", "ogv": "libtheora",
}  # fmt: skip
"""Input containers, and the video in them."""
SOUNDS = (
    "aac", "ac3", "eac3", "mp2", "libmp3lame", "libopus", "libvorbis", "flac", "alac", "pcm_s16le",
    "pcm_s24le", "pcm_s16be", "pcm_f32le", "pcm_u8", "pcm_mulaw", "dca", "truehd", "s302m",
    "adpcm_ima_wav", "wmav2", "libspeex", "tta", "wavpack",
)  # fmt: skip
TEXTS = ("srt", "ass", "mov_text", "webvtt")
"""FFmpeg's encoders."""
OUTPUTS = {"mkv": "libx264", "mp4": "libx264", "mov": "libx264", "webm": "libvpx-vp9"}
PART = (0.12, 0.37)
"""Seconds from the first frame: begins and ends within packets."""
TICK = 0.0011
"""Seconds by which a time may be rounded: Matroska counts milliseconds."""
HIDDEN = 2 * 4096
"""Bytes of samples at either end of which more or less may be decoded: 85 ms."""
_SUBTITLES = "1\n00:00:00,100 --> 00:00:00,300\nhello\n\n2\n00:00:00,400 --> 00:00:00,450\nyou\n"


class Outcome(NamedTuple):
    """What became of one stream on its way into one output."""

    name: str
    outcome: str
    """kept, lost (and said so), or FAULT."""
    detail: str


def main() -> int:
    """Return 1 when a stream was neither kept nor said to be lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--json", type=Path, help="write the counts there")
    options = parser.parse_args()
    began = time.monotonic()
    counts: Counter[str] = Counter()
    for each in outcomes(options.only):
        counts[each.outcome] += 1
        sys.stdout.write(f"{each.outcome:6s} {each.name} {each.detail}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{dict(counts)} in {time.monotonic() - began:.0f} s\n")
    if options.json:
        told = {"outcomes": counts, "machine": describe_machine()}
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if counts["FAULT"] else 0


def outcomes(only: str = "") -> Iterator[Outcome]:
    """Yield what became of each combination whose name holds `only`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for container, codec in itertools.product(PICTURES, (*SOUNDS, *TEXTS)):
            if only not in f"{container} {codec}":
                continue
            source = folder / f"in.{container}"
            source.unlink(missing_ok=True)
            if not _made(source, codec):
                continue
            for suffix, whole in itertools.product(OUTPUTS, (True, False)):
                name = f"{container} {codec} -> {suffix}{'' if whole else ', a part'}"
                yield Outcome(name, *_enhanced(source, folder / f"out.{suffix}", whole=whole))


def _made(path: Path, codec: str) -> bool:
    """Write a recording with one other stream; False where FFmpeg cannot, or not read it again."""
    beside = path.with_name("texts.srt")
    beside.write_text(_SUBTITLES)
    made = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=48x32:r=25:d=0.5"]
    if codec in TEXTS:
        made += ["-i", str(beside), "-map", "0:v", "-map", "1:s", "-c:s", codec]
    else:
        made += ["-f", "lavfi", "-i", "sine=d=0.5:r=48000", "-map", "0:v", "-map", "1:a"]
        made += ["-c:a", codec]
    made += ["-c:v", PICTURES[path.suffix[1:]], "-strict", "-2", str(path)]
    if call(made, capture_output=True).returncode:
        return False
    return all(_decoded(path, which) for which in ("0:v", "0:s" if codec in TEXTS else "0:a"))


def _enhanced(source: Path, out: Path, *, whole: bool) -> tuple[str, str]:
    from pipeline.errors import PipelineError
    from pipeline.media.read.probe import probe, scan
    from pipeline.runs.run import run
    from pipeline.schema.settings import RunSettings

    clip = probe(str(source))
    first = scan(clip).pts[0] * float(clip.time_base)
    window = {} if whole else {"start": first + PART[0], "end": first + PART[1]}
    settings = RunSettings(
        input=str(source),
        ref_stream=str(source),
        output=str(out),
        scale="2",
        engine="bicubic",
        runner="inline",
        codec=OUTPUTS[out.suffix[1:]],
        preset="ultrafast" if out.suffix != ".webm" else None,
        force=True,
        **window,
    )
    try:
        # the pipeline compares the packets itself
        notes = run(settings).notes
    except PipelineError as error:
        return "FAULT", str(error)
    if any("cannot be kept" in note for note in notes):
        return "lost", ""
    return ("FAULT", fault) if whole and (fault := _fault(source, out)) else ("kept", "")


def _fault(source: Path, out: Path) -> str:
    """Return how the other stream of an output differs, as FFmpeg's programs see it."""
    times, found = _times(source), _times(out)
    if len(times) != len(found):
        return f"{len(found)} packets of {len(times)}"
    late = max(abs(a - b) for a, b in zip(times, found, strict=True))
    if late > TICK:
        return f"a packet comes {late:.4f} s from where it was"
    if texts := _decoded(source, "0:s"):
        return "" if _decoded(out, "0:s") == texts else "other texts"
    if _codec(source) != _codec(out):
        # MP2 of MP4 is read as MP3, and an FFmpeg before 6 knows no PCM of 24 bits there; the
        # packets are equal, as the pipeline itself has seen
        return ""
    samples, heard = _decoded(source, "0:a"), _decoded(out, "0:a")
    # what an edit list of MP4 hides at both ends is heard in other containers
    core = samples[HIDDEN:-HIDDEN]
    same = core and core in heard and abs(len(heard) - len(samples)) < 2 * HIDDEN
    return "" if same else "other samples"


def _codec(path: Path) -> str:
    asked = ["-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]
    return call(
        ["ffprobe", "-v", "error", *asked, str(path)], capture_output=True, text=True
    ).stdout


def _times(path: Path) -> list[float]:
    """Return the times of the packets of all streams but the first, seconds."""
    asked = ["-show_entries", "packet=stream_index,pts_time", "-of", "csv=p=0", str(path)]
    lines = call(["ffprobe", "-v", "error", *asked], capture_output=True, text=True).stdout.split()
    rows = [line.split(",")[:2] for line in lines]
    # MP4 fills the time between texts with empty ones
    return sorted(float(time) for index, time in rows if index != "0" and time != "N/A")


def _decoded(path: Path, streams: str) -> bytes:
    """Return what FFmpeg decodes of some streams: texts as SRT, else raw samples or pictures."""
    form = {"0:s": ["-f", "srt"], "0:a": ["-f", "s16le"], "0:v": ["-f", "rawvideo"]}[streams]
    ended = call(
        ["ffmpeg", "-v", "error", "-i", str(path), "-map", streams, *form, "-"], capture_output=True
    )
    return ended.stdout if ended.returncode == 0 else b""


if __name__ == "__main__":
    raise SystemExit(main())
