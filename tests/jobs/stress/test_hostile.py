"""A few attacks of `python -m jobs.stress.hostile`, and what its judgement notices."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.stress.hostile.__main__ import (
    CASES,
    choose_cases,
    count_directions,
    main,
    run_case,
    write_rows,
)
from jobs.stress.hostile.bench import Bench, Case, SkippedError
from jobs.stress.hostile.materials import Materials
from tests.support.programs import needs

# One of a kind each; the rest is made by the command itself.
CHOSEN = ("hdf5-0", "template-0", "output-dangling-contact-sheet", "line-nul")


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return Materials(tmp_path_factory.mktemp("materials"))


@needs("ffmpeg")
@pytest.mark.parametrize("name", CHOSEN)
def test_an_attack_is_held(name: str, materials: Materials) -> None:
    (case,) = choose_cases([name], quick=False)
    row = run_case(case, materials)
    assert row["faults"] == []
    assert row["attempts"] == row["refused"] + row["harmless"] > 0


# What a broken command might do -> what the judgement says about it.
HARM = {
    "open(sys.argv[1] + '/thesis.txt', 'w')": "victim/thesis.txt changed",
    "os.unlink(sys.argv[1] + '/thesis.txt')": "victim/thesis.txt vanished",
    "os.chmod(sys.argv[1] + '/thesis.txt', 0o600)": "victim/thesis.txt changed",
    "os.utime(sys.argv[1] + '/thesis.txt')": "victim/thesis.txt changed",
    "os.mkdir(sys.argv[1] + '/new')": "victim/new appeared",
    "open('../EVIL.png', 'w')": "some/where/EVIL.png appeared",
    "open('input', 'a').write('x')": "some/where/work/input changed",
    "os.remove('input'); os.symlink('/etc', 'input')": "some/where/work/input changed",
    "open('PWNED', 'w')": "code ran: some/where/work/PWNED",
    "open('out.mkv', 'w'); sys.exit(2)": "some/where/work/out.mkv appeared",
    "print('a\\x1b]0;evil\\x07')": "control characters were printed",
    "print('a\\u202eb')": "control characters were printed",
    "1 / 0": "a traceback: ZeroDivisionError: division by zero",
    "os.kill(os.getpid(), 9)": "status -9: ",
    "sys.exit('Traceback')": "status 1: Traceback",
    "bytearray(400 << 20)": "it used 0.4 GiB",
    "subprocess.Popen(['sleep', '60'])": "a process was left running",
}


def attack_with(code: str) -> Callable[[Bench], None]:
    def act(bench: Bench) -> None:
        bench.write("input", "x")
        program = (sys.executable, "-c", f"import os, subprocess, sys\n{code}")
        bench.attack(str(bench.victim), program=program)

    return act


@pytest.mark.parametrize("code", HARM)
def test_harm_is_noticed(code: str, materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.stress.hostile.bench.MEMORY", 300 << 20)
    row = run_case(Case("a", "b", "c", attack_with(code)), materials)
    assert row["broken"] == 1
    assert any(HARM[code] in fault for fault in row["faults"]), row["faults"]


def test_an_output_and_the_cache_are_no_harm(materials: Materials) -> None:
    code = "open('out.mkv', 'w'); os.makedirs(os.environ['HOME'] + '/.cache/x')"
    row = run_case(Case("a", "b", "c", attack_with(code)), materials)
    assert (row["harmless"], row["faults"]) == (1, [])
    code = "os.mkdir('.out.mkv.run'); sys.exit('error: wrong') if 0 else sys.exit(2)"
    row = run_case(Case("a", "b", "c", attack_with(code)), materials)
    assert (row["refused"], row["faults"]) == (1, [])


def test_what_a_case_changes_itself_is_no_harm(materials: Materials) -> None:
    def act(bench: Bench) -> None:
        program = (sys.executable, "-c", "import sys; open('raced', 'w'); sys.exit(2)")
        bench.attack(program=program, races=("raced",))
        (bench.folder / "raced").unlink()
        bench.attack(program=program)

    row = run_case(Case("a", "b", "c", act), materials)
    assert (row["refused"], row["broken"]) == (1, 1)


def test_a_case_that_fails_itself_is_no_success(
    materials: Materials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(bench: Bench) -> None:
        raise KeyError("a field")

    def skip(bench: Bench) -> None:
        raise SkippedError("no such system")

    cases = (Case("a", "x", "c", fail, True), Case("b", "y", "c", skip, True))
    monkeypatch.setattr("jobs.stress.hostile.__main__.CASES", cases)
    assert main(["--quick", "--only", "a"]) == 1
    assert "BROKEN x" in capsys.readouterr().out
    assert main(["--quick", "--only", "y"]) == 0
    assert "no such system" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no case or direction"):
        main(["--only", "c"])


def test_results_replace_those_of_the_same_cases(
    tmp_path: Path, materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.machine.RESULTS", tmp_path)
    monkeypatch.setattr("jobs.stress.hostile.__main__.RESULT_FOLDER", tmp_path)
    cases = [Case(name, "x", "c", attack_with("pass")) for name in ("a", "b")]
    monkeypatch.setattr("jobs.stress.hostile.__main__.CASES", cases)
    first, second = (run_case(case, materials) for case in cases)
    for rows in ([second], [first], [second | {"refused": 7}]):
        write_rows(rows)
    result = json.loads((tmp_path / "hostile.json").read_text())
    assert [row["case"] for row in result["cases"]] == ["a", "b"]
    assert result["directions"][-1]["refused"] == 7


def test_names_are_unique_and_every_direction_is_counted(materials: Materials) -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    usual = choose_cases([], quick=False)
    assert set(choose_cases([], quick=True)) <= set(usual) < set(CASES)
    assert choose_cases([], quick=False, thorough=True) == list(CASES)
    quick = {case.direction for case in choose_cases([], quick=True)}
    assert quick == {case.direction for case in CASES}
    rows = [run_case(Case(n, n, "c", attack_with("pass")), materials) for n in ("a", "b")]
    assert [count["harmless"] for count in count_directions(rows)] == [1, 1, 2]


def test_links_and_pipes_are_listed_without_being_opened(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Materials(tmp_path))
    bench.link("loop", "loop")
    bench.link("device", "/dev/zero")
    code = "os.mkfifo('out.fifo')"
    bench.attack(program=(sys.executable, "-c", f"import os\n{code}"))
    assert bench.attempts[0].result == "harmless"
