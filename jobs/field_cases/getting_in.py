"""Cases A5 to A16: a newcomer's first day with the program."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from jobs.field_cases.case import Bench, Case, expect, expect_done
from pipeline.media.read.probe import probe, probe_video

HOSTILE = "open({path!r}, 'a').write(__file__ + '\\n')\nraise ImportError('hostile')\n"


def _make_clip(bench: Bench, name: str = "lr.mp4", *more: str) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=1")
    bench.ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p", *more, name)


def _check_batch_again(bench: Bench) -> str:
    bench.make_reference()
    for name in ("a.mp4", "b.mp4"):
        _make_clip(bench, name)
    options = ("--ref-stream", "ref.png", "--scale", "2", "--engine", "bicubic", "-q", "-o", "out")
    (bench.folder / "out").mkdir()
    for _ in range(2):
        expect_done(bench.pipeline("run", "a.mp4", "b.mp4", *options))
    made = sorted(path.name for path in (bench.folder / "out").glob("*.mp4"))
    expect(len(made) == 2, f"outputs {made}")
    return "finished inputs count as done, status 0"


def _check_estimate(bench: Bench) -> str:
    bench.make_reference()
    _make_clip(bench)
    options = ("--ref-stream", "ref.png", "--scale", "2", "--engine", "bicubic")
    done = bench.pipeline("plan", "lr.mp4", *options)
    expect_done(done)
    expect("the run takes as long as decoding and encoding" in done.text, "no line about time")
    return "no network runs, and the plan says so"


def _check_fifo(bench: Bench) -> str:
    bench.make_reference()
    _make_clip(bench, "lr.mkv")
    pipe = bench.folder / "pipe.mkv"
    os.mkfifo(pipe)
    data = (bench.folder / "lr.mkv").read_bytes()

    def feed() -> None:
        with suppress(BrokenPipeError):  # if the program refuses the pipe
            pipe.write_bytes(data)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    done = bench.enhance("pipe.mkv", "out.mkv")
    expect(done.status in (0, 2), f"status {done.status}: {done.last_line}")
    return "read" if done.status == 0 else f"one line: {done.last_line}"


def _check_chroma(bench: Bench) -> str:
    bench.make_reference()
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=1", "-pix_fmt", "yuv444p")
    bench.ffmpeg(*source, "-c:v", "libx264", "lr.mp4")
    done = bench.enhance("lr.mp4", "out.mp4")
    expect_done(done)
    found = probe(str(bench.folder / "out.mp4")).pix_fmt
    expect(found in ("yuv420p", "yuvj420p"), f"the output is {found}")
    expect("4:2:0" in done.text, "no note")
    return "4:2:0, with a note"


def _check_subtitles(bench: Bench) -> str:
    bench.make_reference()
    text = "1\n00:00:00,100 --> 00:00:00,500\nhello\n\n2\n00:00:00,600 --> 00:00:00,900\nyou\n"
    (bench.folder / "s.srt").write_text(text, encoding="utf-8")
    _make_clip(bench, "plain.mp4")
    bench.ffmpeg("-i", "plain.mp4", "-i", "s.srt", "-c:v", "copy", "-c:s", "mov_text", "lr.mp4")
    expect_done(bench.enhance("lr.mp4", "out.mkv"))
    streams = probe_video(str(bench.folder / "out.mkv")).other_streams
    expect("subtitle" in {stream.type for stream in streams}, "the subtitles are lost")
    bench.ffmpeg("-i", "out.mkv", "-map", "0:s:0", "out.srt")
    found = (bench.folder / "out.srt").read_text(encoding="utf-8")
    expect("hello" in found and "you" in found, f"subtitles {found!r}")
    return "SRT"


def _check_hostile_folder(bench: Bench) -> str:
    bench.make_reference()
    _make_clip(bench)
    marker = str(bench.folder / "RAN")
    for name in ("struct.py", "json.py", "numpy.py", "sitecustomize.py", "torch.py"):
        (bench.folder / name).write_text(HOSTILE.format(path=marker), encoding="utf-8")
    expect_done(bench.enhance("lr.mp4", "out.mp4", "--sandbox", "on"))
    expect_done(bench.pipeline("doctor"))
    expect(not Path(marker).exists(), "the folder's modules ran")
    return "no module in the folder ran"


def _check_figures(bench: Bench) -> str:
    bench.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=1", "-c:v", "ffv1", "hr.mkv")
    expect_done(bench.pipeline("degrade", "hr.mkv", "--scale", "2", "-o", "lr.mkv"))
    bench.make_reference()
    truth = ("--ground-truth", "hr.mkv")
    options = ("--ref-stream", "ref.png", "--scale", "2", "--engine", "bicubic")
    done = bench.pipeline("run", "lr.mkv", *options, "-o", "out.mkv", *truth)
    expect_done(done)
    evaluated = bench.pipeline("evaluate", "out.mkv", *truth)
    expect_done(evaluated)
    found = [re.findall(r"\d+\.\d\d(?= dB)", outcome.text)[:1] for outcome in (done, evaluated)]
    expect(found[0] == found[1] != [], f"run {found[0]}, evaluate {found[1]}: {done.text}")
    return f"{found[0][0]} dB from both"


CASES = (
    Case("A5", "a batch, and the same command again", "done, status 0", _check_batch_again),
    Case("A9", "plan without a network", "what the time depends on", _check_estimate),
    Case("A12", "figures of run and evaluate", "the same figure", _check_figures),
    Case("A13", "a fifo as input", "read, or one line", _check_fifo),
    Case("A14", "4:4:4 material to MP4", "plays: 4:2:0, a note", _check_chroma),
    Case("A15", "mov_text into .mkv", "SRT", _check_subtitles),
    Case("A16", "run in a stranger's folder", "no module there runs", _check_hostile_folder),
)
