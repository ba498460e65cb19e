"""The documentation builds without a warning, and what it tells people to type works.

Blocks of `sh` and `python` are executed page by page, those below `<!-- not run: why -->` excepted.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from crossnetpp.data.degradation import degrade
from pipeline.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
QUICK = ["--engine", "bicubic", "--preset", "ultrafast"]
"""Added to runs and plans: the pages are about commands, other tests about the network."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the clips and light fields as the pages name them."""
    sys.path.insert(0, str(Path(__file__).parent / "pipeline"))
    from recordings import write_pair

    folder = tmp_path_factory.mktemp("docs")
    lr, hr = write_pair(folder, frames=16, height=96, width=128)
    hr_mp4 = folder / "original.mp4"
    for source, target in ((hr, hr_mp4), (hr, folder / "ref.mp4"), (lr, folder / "input.mp4")):
        moved = CliRunner().invoke(
            main, ["degrade", str(source), "--scale", "1", "--crf", "8", "-o", str(target)]
        )
        assert moved.exit_code == 0, moved.output
    write_views(folder)
    return folder


def write_views(folder: Path) -> None:
    """Write views/, hr_views/, hr_view.png and original_views/ as the pages name them."""
    sys.path.insert(0, str(Path(__file__).parent / "pipeline" / "lightfield"))
    import scenes

    for row in range(3):
        for col in range(3):
            name, sharp = f"view_{row:02}_{col:02}.png", scenes.flowers(row, col)
            scenes.save(folder / "original_views" / name, sharp)
            scenes.save(folder / "views" / name, degrade(sharp, 2))
            if (row, col) in ((0, 0), (2, 2)):
                scenes.save(folder / "hr_views" / name, sharp)
    shutil.copy(folder / "hr_views" / "view_00_00.png", folder / "hr_view.png")


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, text) of the page's blocks that are to be executed."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (language, body)
        for skipped, language, body in BLOCK.findall(text)
        if not skipped and language in ("sh", "python")
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
    for link in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert link in PAGES


def quickened(words: list[str]) -> list[str]:
    """Return the options that make a command of a page quick enough to be tested."""
    if words[1] not in ("run", "plan") or "--help" in words:
        return []
    # light fields and numbered pictures have no x264 preset
    video = words[2].endswith(".mp4") and not any(word.endswith(".png") for word in words)
    return QUICK if video else QUICK[:2]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_the_commands_of_a_page_work(
    page: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(recordings, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, body in blocks(page):
        if language == "python":
            exec(compile(body, page, "exec"), names)
            continue
        for line in body.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "pipeline", f"{page}: only pipeline commands can be tested: {line}"
            quick = quickened(words)
            result = CliRunner().invoke(main, words[1:] + quick)
            assert result.exit_code == 0, (line, result.output, result.exception)
