"""The sandbox returns what the reader returns, and contains the crashes of its decoder."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.confinement import landlock_version
from pipeline.errors import InputError, MediaError
from pipeline.media.read.frames import FrameReader, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.sandbox import parent
from pipeline.media.sandbox.parent import Child
from pipeline.planning.plan import make_plan
from pipeline.schema.clip import Clip
from pipeline.schema.settings import RunSettings
from tests.support import DATA
from tests.support.clips import make_video

EDITED = DATA / "odd/edts.mp4"
_PROCESSOR = platform.machine() in ("x86_64", "aarch64")


@pytest.fixture(scope="module")
def guarded() -> Clip:
    return probe(str(EDITED), sandbox=True)


def test_a_recording_is_the_same_inside_and_outside(guarded: Clip) -> None:
    clip = probe(str(EDITED))
    assert guarded == clip.model_copy(update={"sandbox": True})
    index = scan(clip)
    assert scan(guarded) == index
    for inside, outside in zip(
        read_frames(guarded, index.pts[2], index.pts[9]),
        read_frames(clip, index.pts[2], index.pts[9]),
        strict=True,
    ):
        assert (inside.pts, inside.concealed) == (outside.pts, outside.concealed)
        np.testing.assert_array_equal(inside.rgb, outside.rgb)
    here, there = FrameReader(guarded), FrameReader(clip)
    for pts in (index.pts[5], index.pts[1]):
        np.testing.assert_array_equal(here.get(pts), there.get(pts))
    with pytest.raises(Exception, match="no frame at pts 1234567"):
        here.get(1234567)
    np.testing.assert_array_equal(here.get(index.pts[3]), there.get(index.pts[3]))
    here.close()
    there.close()


def test_deep_and_still_pictures_come_through(tmp_path: Path) -> None:
    deep = make_video(tmp_path / "deep.mkv", codec="ffv1", options={}, pix_fmt="yuv420p10le")
    for path in (deep, DATA / "kodak_21.jpg"):
        (inside, *_), (outside, *_) = (
            list(read_frames(probe(str(path), sandbox=on))) for on in (True, False)
        )
        assert inside.rgb.dtype == outside.rgb.dtype
        np.testing.assert_array_equal(inside.rgb, outside.rgb)


def test_a_run_in_the_sandbox_makes_the_same_file_and_says_the_same(tmp_path: Path) -> None:
    # an attachment, chapters, subtitles: everything that is copied passes the sandbox, too
    given = make_video(tmp_path / "in.mkv", pts=list(range(6)), extras=True)
    ref = make_video(tmp_path / "ref.mkv", pts=list(range(6)))
    made, plans = {}, {}
    for choice in ("on", "off"):
        out = tmp_path / f"{choice}.mkv"
        settings = RunSettings(
            input=str(given), ref_stream=str(ref), scale="2", engine="bicubic", sandbox=choice
        )
        arguments = ["run", str(given), "--ref-stream", str(ref), "--scale", "2", "-o", str(out)]
        arguments += ["--engine", "bicubic", "--runner", "inline", "--sandbox", choice]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        made[choice], plans[choice] = out.read_bytes(), make_plan(settings)
    assert made["on"] == made["off"]
    assert plans["on"].input.sandbox
    assert not plans["off"].input.sandbox
    # a run may be resumed either way
    assert plans["on"].digest() == plans["off"].digest()
    assert plans["on"].notes == plans["off"].notes


def test_the_sandbox_refuses_a_recording_with_the_message_of_the_reader(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(EDITED.read_bytes()[:3000])
    messages = []
    for choice in (True, False):
        with pytest.raises(MediaError) as caught:
            scan(probe(str(broken), sandbox=choice))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_recording_that_needs_too_much_memory_is_refused(
    guarded: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(parent.GIGABYTES_VARIABLE, "0.3")
    with pytest.raises(MediaError, match=r"0\.3 GB.* try --sandbox off"):
        next(read_frames(guarded))
    monkeypatch.setenv(parent.GIGABYTES_VARIABLE, "much")
    with pytest.raises(InputError, match="PIPELINE_SANDBOX_GB is much; set it to a number"):
        next(read_frames(guarded))


def test_a_recording_that_hangs_the_decoder_is_refused(
    guarded: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(parent.SECONDS_VARIABLE, "0.4")
    reader = parent.ChildReader(guarded)
    # a decoder that never comes back, however fast or busy the machine is
    os.kill(reader._child._process.pid, signal.SIGSTOP)
    with pytest.raises(MediaError, match=r"busy for more than 0 s; .* try --sandbox off"):
        reader.get(0)
    reader.close()


def test_a_recording_that_kills_the_decoder_is_refused(guarded: Clip) -> None:
    reader = parent.ChildReader(guarded)
    os.kill(reader._child._process.pid, signal.SIGSEGV)
    with pytest.raises(
        MediaError, match=r"crashed the decoder \(signal 11\); expected an intact file"
    ):
        reader.get(0)
    reader.close()


def test_closing_a_reader_ends_its_child(guarded: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen.__init__

    def noted(self: subprocess.Popen[bytes], *args: object, **kwargs: object) -> None:
        started.append(self)
        begin(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    frames = read_frames(guarded)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert [child.returncode for child in started] == [-signal.SIGKILL]


def test_a_child_runs_nothing_but_what_reads_recordings() -> None:
    request = {"call": "os:system", "arguments": {"command": "true"}}
    with (
        Child(request, str(EDITED)) as child,
        pytest.raises(RuntimeError, match="does not allow calls to os:system"),
    ):
        child.answer()


def test_a_picture_of_another_size_than_probed_is_refused(guarded: Clip) -> None:
    reader = parent.ChildReader(guarded)
    reader._child.ask(0)
    with pytest.raises(MediaError, match="send invalid answers"):
        reader._child.answer((guarded.height, guarded.width + 16, 3))
    reader.close()


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 200_000, b"[]", b'{"error": "MediaError"}'])
def test_an_answer_that_is_not_the_expected_json_is_refused(
    guarded: Clip, tmp_path: Path, text: bytes
) -> None:
    reader = parent.ChildReader(guarded)
    answers = tmp_path / "answers"
    answers.write_bytes(parent.HEAD.pack(len(text), 0) + text)
    with answers.open("rb") as stream:
        reader._child._out = stream.fileno()
        with pytest.raises(MediaError, match="send invalid answers"):
            reader._child.answer()
    reader.close()


_BARE = """
import sys
from pipeline.media.sandbox.seccomp import deny_confinement
assert deny_confinement()
from pipeline.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.skipif(not _PROCESSOR or sys.platform != "linux", reason="needs seccomp")
def test_where_nothing_can_be_confined_the_sandbox_is_refused(tmp_path: Path) -> None:
    clip = str(EDITED)
    output = tmp_path / "out.mkv"
    command = [sys.executable, "-c", _BARE, "run", clip, "--ref-stream", clip, "-o", str(output)]
    command += ["--scale", "2", "--engine", "bicubic", "--runner", "inline"]
    refused = subprocess.run([*command, "--sandbox", "on"], capture_output=True, text=True)
    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert "permits neither Landlock nor namespaces" in line
    assert "try --sandbox off" in line
    assert not output.exists()


_NOTE = """
import sys
from pipeline.media.sandbox.seccomp import deny_confinement
assert deny_confinement()
from pipeline.remote import cache
from pipeline.remote.run_urls import describe_confinement, fetch_inputs
from pipeline.schema.settings import RunSettings
cache.fetch_copy = lambda url: sys.argv[1]
given = RunSettings(input="https://host/lr.mp4", output="out.mp4")
print(fetch_inputs(given, given).sandbox)
print(describe_confinement(given))
"""


@pytest.mark.skipif(not _PROCESSOR or sys.platform != "linux", reason="needs seccomp")
def test_where_nothing_can_be_confined_a_note_says_so() -> None:
    command = [sys.executable, "-c", _NOTE, str(EDITED)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == [
        "auto",
        "recordings from URLs are opened in this process: this system permits neither Landlock "
        "nor namespaces",
    ]


def test_a_child_that_lies_does_not_choose_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    shutil.copy(DATA / "kodak_21.jpg", folder)
    honest = probe(str(folder), sandbox=True)
    assert honest.files == (str(folder / "kodak_21.jpg"),)
    video = probe(str(EDITED), sandbox=True)
    for clip in (honest, video):
        forgery = clip.model_dump(mode="json") | {
            "files": ["/etc/passwd"],
            "url": "http://10.0.0.1/",
        }
        monkeypatch.setattr(
            Child, "answer", lambda *_, forgery=forgery: ({"result": forgery}, None)
        )
        with pytest.raises(MediaError, match="list another file, /etc/passwd"):
            probe(clip.path, sandbox=True)
    honest_lie = video.model_dump(mode="json") | {"url": "http://10.0.0.1/"}
    monkeypatch.setattr(Child, "answer", lambda *_: ({"result": honest_lie}, None))
    assert probe(video.path, sandbox=True).url == ""


_READS_ANYTHING = """
import os, sys
from pathlib import Path
os.chdir(sys.argv[1])
sys.path[:0] = ["", sys.argv[1], "/", sys.argv[2]]
from pipeline.media.sandbox.confine import confine_process
confine_process([])
for secret in (Path(sys.argv[1], "secret"), Path(sys.argv[2], "secret")):
    try:
        print(secret.read_text())
    except OSError:
        pass
import struct
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Landlock")
def test_the_current_folder_and_that_of_a_script_cannot_be_read(tmp_path: Path) -> None:
    folders = [tmp_path / "current", tmp_path / "script"]
    for folder in folders:
        folder.mkdir()
        (folder / "secret").write_text("read")
    # even if pip has installed something there
    (folders[0] / "any-1.0.dist-info").mkdir()

    command = [sys.executable, "-c", _READS_ANYTHING, *map(str, folders)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    if not landlock_version():
        pytest.skip("this kernel has no Landlock")
    assert made.stdout == ""


_LIBRARIES = """
import os, sys
from pathlib import Path
import pipeline.confined.child
from pipeline.media.sandbox.confine import list_libraries
os.chdir(sys.argv[1])
sys.path[:0] = ["", sys.argv[1], "/", sys.argv[2]]
allowed = [Path(folder).resolve() for folder in list_libraries()]
for folder in map(Path, sys.argv[1:]):
    print(*(a for a in allowed if folder.is_relative_to(a)))
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file and not any(Path(file).resolve().is_relative_to(a) for a in allowed):
        print(file)
"""


def test_libraries_hold_every_module_of_the_child_and_no_other_folder(tmp_path: Path) -> None:
    folders = [tmp_path / "current", tmp_path / "script"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "any-1.0.dist-info").mkdir()

    command = [sys.executable, "-c", _LIBRARIES, *map(str, folders)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert made.stdout.split() == []
