"""The command line: exit status, one line for every mistake, one JSON object, fast help."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS
from pipeline.errors import PipelineError
from pipeline.ledger.ledger import Ledger
from pipeline.paths import sha256
from pipeline.schema.plan import Plan
from tests.support.commands import invoke

CHOSEN = ["--engine", "bicubic", "--segment", "0.4", "--preset", "ultrafast", "--batch", "4"]


def run_in_child(
    *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    code = "from pipeline.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        timeout=120,
        check=False,
    )


def test_help_lists_every_command_without_importing_it() -> None:
    heavy = ("pydantic", "torch", "ray", "av", "numpy", "cv2", "rich")
    code = f"""
import sys
from click.testing import CliRunner
from pipeline.cli.main import main
result = CliRunner().invoke(main, ["--help"])
print(result.output)
assert not [name for name in {heavy} if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


RECORDINGS = ("pipeline.schema.clip", "pipeline.schema.plan")  # models that take long to build
HEAVY = ("torch", "ray", "av", "numpy", "cv2", "rich", *RECORDINGS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_what_its_options_need(command: str) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from pipeline.cli.main import main
result = CliRunner().invoke(main, [{command!r}, "--help"])
assert result.exit_code == 0, result.exception
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert not imported & set(HEAVY)

    settings = "pipeline.schema.settings" in imported
    assert ("pydantic" in imported) == settings
    if command in ("engines", "train", "doctor", "demo", "compare", "report", "submit", "status"):
        assert not settings


def test_help_is_fast() -> None:
    """Processor time counts, because a busy machine prolongs everything else."""
    best = 9.0
    for _ in range(3):
        before = os.times()
        assert run_in_child("--help").returncode == 0
        after = os.times()
        spent = after.children_user + after.children_system
        best = min(best, spent - before.children_user - before.children_system)
    assert best < 0.5


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, pipeline; assert not {'torch', 'ray', 'tensorrt'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["run", "plan", "probe"])
def test_each_command_has_help(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output
    assert "--debug" in result.output


def test_run_prints_one_json_object_on_stdout(pair: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    result = invoke("run", pair[0], "--ref-stream", pair[1], "-o", output, *CHOSEN, "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert list(answer) == [
        "output",
        "frames",
        "seconds",
        "fps",
        "engine",
        "device",
        "model",
        "scale",
        "width",
        "height",
        "segments",
        "resumed_segments",
        "reference_map",
        "references_per_frame",
        "capture",
        "adapted",
        "notes",
        "exec_status",
        "psnr",
        "ssim",
    ]
    assert answer["output"] == str(output)
    assert answer["frames"] == 40
    assert answer["references_per_frame"] == 1
    assert "40 frames" in result.stderr


def test_run_prints_the_result_in_words(pair: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    result = invoke("run", pair[0], "--ref-stream", pair[1], "-o", output, *CHOSEN, "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{output}\n  40 frames x2 in ")
    assert result.stderr == ""


def test_plan_runs_nothing_and_can_be_saved(pair: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("plan", pair[0], "--ref-stream", pair[1], "-o", tmp_path / "out.mkv", *CHOSEN)
    made = invoke(*arguments, "--json", "--save", tmp_path / "plan.json")
    assert made.exit_code == 0, made.stderr
    plan = Plan.model_validate_json(made.stdout)
    assert len(plan.reference_map) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert Plan.model_validate_json((tmp_path / "plan.json").read_text()) == plan
    words = invoke(*arguments)
    assert "64x48 -> 128x96 (x2), 40 frames in" in words.stdout


def test_probe_describes_a_video(pair: tuple[Path, Path]) -> None:
    assert json.loads(invoke("probe", pair[0], "--json").stdout)["width"] == 64
    assert "h264 yuv420p, 64x48, 8 bits, 25.000 fps" in invoke("probe", pair[0]).stdout


MISTAKES = {
    "no such input": ["{t}/none.mkv", "--ref-stream", "{hr}"],
    "no such reference": ["{lr}", "--ref-stream", "{t}/none.mkv"],
    "input is text": ["{t}/text.mkv", "--ref-stream", "{hr}"],
    "reference is text": ["{lr}", "--ref-stream", "{t}/text.mkv"],
    "input is empty": ["{t}/empty.mkv", "--ref-stream", "{hr}"],
    "input is an empty folder": ["{t}/folder", "--ref-stream", "{hr}"],
    "no reference": ["{lr}"],
    "reference is smaller": ["{hr}", "--ref-stream", "{lr}"],
    "unknown engine": ["{lr}", "--ref-stream", "{hr}", "--engine", "warp9"],
    "unknown model": ["{lr}", "--ref-stream", "{hr}", "--engine", "torch", "--model", "none.bin"],
    "unknown codec": ["{lr}", "--ref-stream", "{hr}", "--codec", "h277"],
    "unknown pixel format": ["{lr}", "--ref-stream", "{hr}", "--pix-fmt", "yuv999"],
    "offset is a word": ["{lr}", "--ref-stream", "{hr}", "--ref-offset", "soon"],
    "start beyond the end": ["{lr}", "--ref-stream", "{hr}", "--start", "100"],
    "start after end": ["{lr}", "--ref-stream", "{hr}", "--start", "1", "--end", "0.5"],
    "start is a word": ["{lr}", "--ref-stream", "{hr}", "--start", "later"],
    "negative segment": ["{lr}", "--ref-stream", "{hr}", "--segment", "-1"],
    "output exists": ["{lr}", "--ref-stream", "{hr}", "-o", "{t}/text.mkv"],
    "output is the input": ["{lr}", "--ref-stream", "{hr}", "-o", "{lr}", "--force"],
    "output is the reference": ["{lr}", "--ref-stream", "{hr}", "-o", "{hr}", "--force"],
    "output folder missing": ["{lr}", "--ref-stream", "{hr}", "-o", "{t}/no/out.mkv"],
    "output folder read-only": ["{lr}", "--ref-stream", "{hr}", "-o", "/proc/out.mkv"],
    "output of an unknown kind": ["{lr}", "--ref-stream", "{hr}", "-o", "{t}/out.xyz"],
    "plan missing": ["{lr}", "--ref-stream", "{hr}", "--plan", "{t}/none.json"],
    "plan is text": ["{lr}", "--ref-stream", "{hr}", "--plan", "{t}/text.mkv"],
    "ground truth missing": ["{lr}", "--ref-stream", "{hr}", "--ground-truth", "{t}/none.mkv"],
    "ground truth of another size": ["{lr}", "--ref-stream", "{hr}", "--ground-truth", "{lr}"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gives_one_line_and_writes_nothing(
    arguments: list[str], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mkv").write_text("this is no video\n" * 50)
    (tmp_path / "empty.mkv").touch()
    names = {"lr": str(pair[0]), "hr": str(pair[1]), "t": str(tmp_path)}
    given = [argument.format(**names) for argument in arguments]
    if "-o" not in given:
        given += ["-o", str(tmp_path / "out.mkv")]
    before = snapshot(tmp_path) | snapshot(pair[0].parent)
    result = invoke("run", *CHOSEN, "--runner", "inline", "-q", *given)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("error: "), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert snapshot(tmp_path) | snapshot(pair[0].parent) == before


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path): sha256(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x", "--scale", "3"], ["run", "x", "--nonsense"], ["nonsense"]],
    ids=str,
)
def test_a_wrong_command_line_is_exit_status_two(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_second_run_on_one_output_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = (pair[0], "--ref-stream", pair[1], "-o", tmp_path / "out.mkv", *CHOSEN)
    plan = Plan.model_validate_json(invoke("plan", *arguments, "--json").stdout)
    with Ledger(plan):
        result = invoke("run", *arguments, "-q")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: another run is writing ")
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    missing = ("run", tmp_path / "none.mkv", "--ref-stream", tmp_path / "none.mkv")
    plain = invoke(*missing)
    debug = invoke(*missing, "--debug")
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.stderr.splitlines()[-1] == plain.stderr.strip()
    assert debug.exit_code == plain.exit_code == 2


def test_programming_errors_are_not_hidden(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("pipeline.media.read.probe.probe", broken)
    result = invoke("probe", pair[0])
    assert isinstance(result.exception, TypeError)


def test_an_end_of_data_is_no_abort_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EOFError("no more packets")

    monkeypatch.setattr("pipeline.cli.main.importlib.import_module", fail)
    result = invoke("probe", "clip.mkv")
    assert isinstance(result.exception, RuntimeError)
    assert "Aborted" not in result.output


def test_incomplete_bytecode_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EOFError) as found:
        marshal.loads(marshal.dumps(compile("a = 1", "a", "exec"))[:20])

    def fail(*_: object) -> None:
        raise found.value

    monkeypatch.setattr("pipeline.cli.main.importlib.import_module", fail)
    result = invoke("probe", "clip.mkv")
    assert result.exit_code == 1
    assert "delete the __pycache__ folders below" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_message_of_several_lines_becomes_one(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise PipelineError("first\nsecond")

    monkeypatch.setattr("pipeline.media.read.probe.probe", fail)
    result = invoke("probe", pair[0])
    assert (result.exit_code, result.stderr) == (1, "error: first second\n")


def test_a_full_disk_is_one_line_and_resumable(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A limit on the size of files has the effect of a full disk: writing fails half-way."""
    output = tmp_path / "out.mkv"
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
from pipeline.cli.main import main
main()
"""
    arguments = [str(pair[0]), "--ref-stream", str(pair[1]), "-o", str(output), *CHOSEN]
    command = [sys.executable, "-c", code, "run", *arguments, "-q", "--runner", "inline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: encode: segment 0, LR pts ")
    assert not output.exists()
    assert invoke("run", *arguments, "-q", "--runner", "inline").exit_code == 0


def test_an_error_while_joining_keeps_the_segments(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the drive went away\nmore")

    output = tmp_path / "out.mkv"
    arguments = [pair[0], "--ref-stream", pair[1], "-o", output, *CHOSEN, "--runner", "inline"]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.media.join.remux.join_segments", fail)
        failed = invoke("run", *arguments, "-q")
    assert failed.exit_code == 1
    assert failed.stderr == (
        "error: assemble: the drive went away; the segments are kept; run the same command again\n"
    )
    assert not output.exists()

    again = invoke("run", *arguments, "--json")
    assert again.exit_code == 0
    result = json.loads(again.stdout)
    assert result["resumed_segments"] == result["segments"] > 1


def processes_of(folder: str) -> list[str]:
    """Return the command lines of running processes that mention the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if folder in line:
                found.append(line)
    return found


@pytest.mark.ray
def test_a_ray_run_gives_the_bits_of_an_inline_run_and_leaves_no_process(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("run", pair[0], "--ref-stream", pair[1], *CHOSEN, "--json")
    inline = invoke(*arguments, "-o", tmp_path / "inline.mkv", "--runner", "inline")
    assert inline.exit_code == 0, inline.stderr
    # a short name: Ray's sockets are in this folder, and their paths have at most 107 characters
    with tempfile.TemporaryDirectory(prefix="rt-", ignore_cleanup_errors=True) as folder:
        where = (tmp_path / "ray.mkv", "--runner", "ray", "--workers", 2)
        done = run_in_child(*arguments, "-o", *where, env={"RAY_TMPDIR": folder})
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 10
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert processes_of(folder) == []
    answer = json.loads(done.stdout)
    assert answer["engine"] == "bicubic"
    assert sha256(tmp_path / "ray.mkv") == sha256(tmp_path / "inline.mkv")
    assert "runner ray: as requested" in done.stderr
