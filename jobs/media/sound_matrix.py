"""Test all kinds of sound and subtitles in every container: `python -m jobs.media.sound_matrix`.

The `ffmpeg` program writes half a second of video and one other stream to each container that can
hold them. With the bicubic engine, the pipeline then enhances the whole recording, and a part of
it, to each output container. A stream passes if ffmpeg and ffprobe find its times, samples and text
unchanged, or if a note states that it was lost. In a part, only the run's own check is made.
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

# input container -> video encoder
PICTURES = {
    "mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4",
    "ts": "libx264", "flv": "libx264", "mpg": "mpeg2video", "asf": "mpeg4", "ogv": "libtheora",
}  # fmt: skip
# FFmpeg's encoders
SOUNDS = (
    "aac", "ac3", "eac3", "mp2", "libmp3lame", "libopus", "libvorbis", "flac", "alac", "pcm_s16le",
    "pcm_s24le", "pcm_s16be", "pcm_f32le", "pcm_u8", "pcm_mulaw", "dca", "truehd", "s302m",
    "adpcm_ima_wav", "wmav2", "libspeex", "tta", "wavpack",
)  # fmt: skip
TEXTS = ("srt", "ass", "mov_text", "webvtt")
OUTPUTS = {"mkv": "libx264", "mp4": "libx264", "mov": "libx264", "webm": "libvpx-vp9"}
# start and end of the part in seconds, relative to the first frame; both fall within a packet
PART_SECONDS = (0.12, 0.37)
ROUNDING_SECONDS = 0.0011  # Matroska rounds times to milliseconds
EDGE_BYTES = 2 * 4096  # tolerance at each end: 85 ms of 16-bit mono samples at 48 kHz
_SUBTITLES = "1\n00:00:00,100 --> 00:00:00,300\nhello\n\n2\n00:00:00,400 --> 00:00:00,450\nyou\n"


class Outcome(NamedTuple):
    """The result for one stream in one output container."""

    name: str
    outcome: str
    """`kept`, `lost` (with a note) or `FAULT`."""
    detail: str


def main() -> int:
    """Test the combinations, and return 1 if any stream is neither preserved nor noted as lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run only cases with TEXT in the name"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts to FILE")
    options = parser.parse_args()

    start = time.monotonic()
    counts: Counter[str] = Counter()
    for result in check_all(options.only):
        counts[result.outcome] += 1
        sys.stdout.write(f"{result.outcome:6s} {result.name} {result.detail}\n")
        sys.stdout.flush()

    sys.stdout.write(f"{dict(counts)} in {time.monotonic() - start:.0f} s\n")
    if options.json:
        summary = {"outcomes": counts, "machine": describe_machine()}
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 1 if counts["FAULT"] else 0


def check_all(only: str = "") -> Iterator[Outcome]:
    """Yield the result of each combination whose name contains `only`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for container, codec in itertools.product(PICTURES, (*SOUNDS, *TEXTS)):
            if only not in f"{container} {codec}":
                continue
            source = folder / f"in.{container}"
            source.unlink(missing_ok=True)
            if not _write_source(source, codec):
                continue

            for suffix, whole in itertools.product(OUTPUTS, (True, False)):
                name = f"{container} {codec} -> {suffix}{'' if whole else ', a part'}"
                yield Outcome(name, *_check_output(source, folder / f"out.{suffix}", whole=whole))


def _write_source(path: Path, codec: str) -> bool:
    """Write a recording with video and a stream encoded with `codec`.

    Return False if FFmpeg cannot write or read the recording.
    """
    texts = path.with_name("texts.srt")
    texts.write_text(_SUBTITLES, encoding="utf-8")
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=48x32:r=25:d=0.5"]
    if codec in TEXTS:
        command += ["-i", str(texts), "-map", "0:v", "-map", "1:s", "-c:s", codec]
    else:
        command += ["-f", "lavfi", "-i", "sine=d=0.5:r=48000", "-map", "0:v", "-map", "1:a"]
        command += ["-c:a", codec]
    command += ["-c:v", PICTURES[path.suffix[1:]], "-strict", "-2", str(path)]
    if call(command, capture_output=True).returncode:
        return False
    return all(_decode(path, streams) for streams in ("0:v", "0:s" if codec in TEXTS else "0:a"))


def _check_output(source: Path, out: Path, *, whole: bool) -> tuple[str, str]:
    """Enhance all or part of `source` to `out`, and return the outcome and any details."""
    from jobs.media.bicubic_run import run_bicubic
    from pipeline.errors import PipelineError
    from pipeline.media.read.probe import probe, scan

    clip = probe(str(source))
    first = scan(clip).pts[0] * float(clip.time_base)
    window = {} if whole else {"start": first + PART_SECONDS[0], "end": first + PART_SECONDS[1]}
    codec = OUTPUTS[out.suffix[1:]]
    preset = "ultrafast" if out.suffix != ".webm" else None
    try:
        # the run itself compares the packets; for a part, that is the only check
        notes = run_bicubic(
            source, source, out, codec=codec, preset=preset, force=True, **window
        ).notes
    except PipelineError as error:
        return "FAULT", str(error)

    if any("cannot hold it" in note for note in notes):
        return "lost", ""
    fault = _find_fault(source, out) if whole else ""
    return ("FAULT", fault) if fault else ("kept", "")


def _find_fault(source: Path, out: Path) -> str:
    """Return how an output's sound or subtitles differ from the source's, or "" if they do not."""
    if texts := _decode(source, "0:s"):
        # a converted stream has other packets: MP4 fills the gaps between subtitles
        return "" if _decode(out, "0:s") == texts else "the subtitles differ"

    times = _packet_times(source)
    found = _packet_times(out)
    if len(times) != len(found):
        return f"{len(found)} packets, expected {len(times)}"
    late = max(abs(a - b) for a, b in zip(times, found, strict=True))
    if late > ROUNDING_SECONDS:
        return f"the time of a packet is {late:.4f} s off"

    if _sound_codec(source) != _sound_codec(out):
        # FFmpeg reads MP2 in MP4 as MP3, and versions before 6 do not recognise 24-bit PCM in MP4.
        # The run has already verified that the packets are equal.
        return ""

    samples = _decode(source, "0:a")
    heard = _decode(out, "0:a")
    # other containers also play the samples that an MP4 edit list hides at both ends
    core = samples[EDGE_BYTES:-EDGE_BYTES]
    same = core and core in heard and abs(len(heard) - len(samples)) < 2 * EDGE_BYTES
    return "" if same else "the samples differ"


def _sound_codec(path: Path) -> str:
    options = ["-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0"]
    return _ask_ffprobe(path, options)


def _packet_times(path: Path) -> list[float]:
    """Return the times in seconds of all packets outside the first stream."""
    options = ["-show_entries", "packet=stream_index,pts_time", "-of", "csv=p=0"]
    rows = [line.split(",")[:2] for line in _ask_ffprobe(path, options).split()]
    return sorted(float(time) for index, time in rows if index != "0" and time != "N/A")


def _ask_ffprobe(path: Path, options: list[str]) -> str:
    command = ["ffprobe", "-v", "error", *options, str(path)]
    return call(command, capture_output=True, text=True).stdout


def _decode(path: Path, streams: str) -> bytes:
    """Return the content of a stream ("0:s", "0:a" or "0:v"), or b"" if FFmpeg cannot decode it.

    Subtitles are returned as SRT, sound as 16-bit samples, and video as raw frames.
    """
    form = {"0:s": ["-f", "srt"], "0:a": ["-f", "s16le"], "0:v": ["-f", "rawvideo"]}[streams]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", streams, *form, "-"]
    ended = call(command, capture_output=True)
    return ended.stdout if ended.returncode == 0 else b""


if __name__ == "__main__":
    raise SystemExit(main())
