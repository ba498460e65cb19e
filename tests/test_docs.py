"""The documentation builds without a warning, and the commands on its pages work.

Blocks of `sh` and `python` are executed page by page, in a folder that holds nothing but the
recordings of a checkout; EXCEPTED lists the blocks that are not. A block of `yaml` that begins with
the name of a file becomes that file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import COMMANDS, main
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from tests.support import ROOT
from tests.support.programs import needs

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"(<!-- not run[^\n]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([\w-]+\.md)?(?:#([\w-]+))?\)")
# Page -> number of blocks that are not run: pip would change the environment, and clusters.md has
# a test of its own.
EXCEPTED = {"install.md": 2, "clusters.md": 1}
SAMPLE = ROOT / "pipeline" / "samples" / "monster.mp4"
# Other pages have the clip at a third of its size.
ON_THE_REAL_SAMPLE = ("key-frames.md", "second-camera.md")
PROGRAMS = ("cp", "ffmpeg", "mkdir")
# Added to runs and plans: these tests are about commands, others are about the network.
QUICK = ["--engine", "bicubic", "--preset", "ultrafast"]


@pytest.fixture(scope="module")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundled clip at a third of its size, so that commands on it are quick."""
    from tests.support.recordings import write_video

    path = tmp_path_factory.mktemp("samples") / SAMPLE.name
    frames = [
        cv2.resize(np.asarray(frame.rgb), (240, 160), interpolation=cv2.INTER_AREA)
        for frame in read_frames(probe(str(SAMPLE)))
    ]
    write_video(path, frames, rate=30)
    return path


def link_checkout(folder: Path, sample: Path) -> None:
    """Put the recordings of a checkout, and nothing else, into an empty folder."""
    (folder / "pipeline" / "samples").mkdir(parents=True)
    (folder / "pipeline" / "samples" / SAMPLE.name).symlink_to(sample)
    (folder / "tests").mkdir()
    (folder / "tests" / "data").symlink_to(ROOT / "tests" / "data")


def find_blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, text) of every block of a page, relative to docs/, that is executed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (language, body)
        for skipped, language, body in BLOCK.findall(text)
        if not skipped and language in ("sh", "python", "yaml")
    ]


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    built = (tmp_path / "build" / "site" / "start" / "index.html").read_text(encoding="utf-8")
    assert "https://fonts." not in built


def test_every_command_is_executed_but_for_three_blocks() -> None:
    texts = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
    skipped = {
        page: sum(bool(why) for why, language, _ in BLOCK.findall(text) if language == "sh")
        for page, text in texts.items()
    }
    assert {page: count for page, count in skipped.items() if count} == EXCEPTED
    languages = {language for text in texts.values() for _, language, _ in BLOCK.findall(text)}
    assert languages == {"sh", "python", "yaml", "toml", "text"}


def find_anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as they are written in links."""
    headings = re.findall(
        r"^#+ (.+)$", BLOCK.sub("", (DOCS / page).read_text(encoding="utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_links_to_headings_are_checked() -> None:
    found = [link for page in PAGES for link in LINK.findall((DOCS / page).read_text())]
    assert ("quality.md", "without-one") in found
    assert "without-one" in find_anchors("quality.md")
    assert find_anchors("files.md") >= {"sequencejson", "files-at-urls"}
    texts = "".join((DOCS / page).read_text() for page in PAGES)
    assert len(found) == len(re.findall(r"\]\((?!images/|https:)", texts))


def test_every_page_is_in_the_navigation() -> None:
    def leaves(node: object) -> list[str]:
        if isinstance(node, str):
            return [node]
        assert isinstance(node, (dict, list))
        children = node.values() if isinstance(node, dict) else node
        return [leaf for child in children for leaf in leaves(child)]

    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    assert sorted(leaves(project["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_links_of_a_page_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for _, language, body in BLOCK.findall(text):
        for line in body.splitlines() if language == "sh" else ():
            if line.startswith("pipeline ") and not line.split()[1].startswith("-"):
                assert line.split()[1] in COMMANDS, line
    for target, anchor in LINK.findall(text):
        assert (target or page) in PAGES, target
        assert not anchor or anchor in find_anchors(target or page), f"{target}#{anchor}"


def test_the_readme_fits_on_one_screen_and_its_links_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert (DOCS / "images" / "before-after.jpg").stat().st_size < 300_000


def find_options(words: list[str]) -> set[str]:
    """Return all options of the command that `pipeline ...` names; fails if there is none."""
    group: click.Command = main
    known = {option for p in main.params for option in p.opts}
    for word in words:
        if not isinstance(group, click.Group):
            break
        found = group.get_command(click.Context(group), word)
        assert found is not None, words
        group = found
        known |= {option for p in group.params for option in (*p.opts, *p.secondary_opts)}
    return known | {"--help"}


@pytest.mark.parametrize("text", [*(f"docs/{page}" for page in PAGES), "README.md"])
def test_every_command_in_running_text_has_its_options(text: str) -> None:
    written = re.findall(
        r"(?:^|`)\s*(pipeline [a-z][^`\n]*)",
        (ROOT / text).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for command in written:
        # a comment follows #, and the arguments of another program follow --
        own = re.split(r"\s#\s|\s--\s", command)[0]
        words = [w for w in own.split()[1:] if re.fullmatch(r"[a-z]+", w)]
        options = set(re.findall(r"(?<!\S)--[a-z][a-z-]+", own))
        if words and words[0] in COMMANDS:
            known = find_options(words) | forwarded_options(words)
            assert options <= known, (command, options - known)


def forwarded_options(words: list[str]) -> set[str]:
    """Return the options that `pipeline submit` forwards to `run`."""
    return find_options(["run"]) if words[0] == "submit" else set()


def quick_options(words: list[str]) -> list[str]:
    """Return the options that make a command of a page quick enough for a test."""
    if words[1] == "train":
        return ["--set", "steps=1", "--set", "batch=2", "--set", "size=64", "--set", "workers=0"]
    if "--model" in words:  # bicubic would not read the weights
        return ["--engine", "torch", *QUICK[2:], "--end", "0.1"]
    if words[1] not in ("run", "plan") or "--help" in words:
        return []
    if "--stream" in words:  # nothing is encoded
        return QUICK[:2]
    # light fields and numbered pictures have no x264 preset
    video = words[2].endswith(".mp4") and not any(word.endswith(".png") for word in words)
    return QUICK if video else QUICK[:2]


def mark_page(page: str) -> Any:
    """Return a parameter of pytest that is skipped if the page needs a program that is missing."""
    programs = {word for line in find_lines(page) for word in line.split()} & {"ffmpeg"}
    return pytest.param(page, marks=[needs(program) for program in programs])


def find_lines(page: str) -> list[str]:
    """Return every line of a page's shell blocks that is executed."""
    blocks = [body for language, body in find_blocks(page) if language == "sh"]
    return [line for body in blocks for line in body.splitlines() if line]


def execute_line(line: str) -> None:
    """Execute a command of a page in the current folder; it must succeed."""
    words = shlex.split(line, comments=True)
    if "|" in words:
        execute_pipe(line)
    elif words[0] == ".":
        assert words[1] == ".venv/bin/activate"  # which `make demo` makes; tests need no other
    elif words[0] == "make":  # CI runs the recipe, and `pipeline demo` has its own test
        subprocess.run([words[0], "-n", *words[1:]], cwd=ROOT, check=True)
    elif words[0] in PROGRAMS:
        subprocess.run(words, check=True)
    else:
        assert words[0] == "pipeline", f"only these programs can be tested: {PROGRAMS}: {line}"
        result = CliRunner().invoke(main, words[1:] + quick_options(words))
        assert result.exit_code == 0, (line, result.output, result.exception)


def execute_pipe(line: str) -> None:
    """Execute programs of a page that are connected by pipes; all of them must succeed."""
    commands = [shlex.split(part) for part in line.split(" | ")]
    for words in commands:
        assert words[0] in (*PROGRAMS, "pipeline"), line
        if words[0] == "pipeline":
            words[:1] = [sys.executable, "-m", "pipeline"]
            words += quick_options(words[2:])
    script = "set -o pipefail; " + " | ".join(map(shlex.join, commands))
    # `pipeline` is this checkout's
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (line, done.stderr)


@pytest.mark.parametrize("page", [mark_page(page) for page in PAGES if find_blocks(page)])
def test_the_commands_of_a_page_work_in_an_empty_checkout(
    page: str, small_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_checkout(tmp_path, SAMPLE if page in ON_THE_REAL_SAMPLE else small_sample)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, body in find_blocks(page):
        if language == "python":
            exec(compile(body, page, "exec"), names)
        elif language == "yaml":
            Path(body.splitlines()[0].removeprefix("# ")).write_text(body)
        else:
            for line in filter(None, body.splitlines()):
                execute_line(line)


def test_the_commands_of_the_readme_work_after_the_demo(
    small_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_checkout(tmp_path, small_sample)
    monkeypatch.chdir(tmp_path)
    # what `make demo` leaves of its inputs
    Path("demo-output").mkdir()
    sample = f"pipeline/samples/{SAMPLE.name}"
    execute_line(f"pipeline degrade {sample} --scale 4 -o demo-output/lr.mp4")
    execute_line(f"pipeline degrade {sample} --scale 1 --every 15 -o demo-output/ref.mp4")

    lines = find_lines("../README.md")
    assert lines[0].startswith("make demo ")
    for line in lines:
        execute_line(line)
