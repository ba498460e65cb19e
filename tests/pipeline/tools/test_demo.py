"""The demo refuses a folder that exists before it loads or writes anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.tools.demo import FILES, clear_folder


def test_an_existing_folder_is_refused_without_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from pipeline.cli.main import main
result = CliRunner().invoke(main, ["demo", "-o", {str(tmp_path)!r}])
assert not {{"torch", "ray"}} & set(sys.modules)
sys.stderr.write(result.stderr)
sys.exit(result.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"error: {tmp_path} already exists; try another -o, or --force to replace it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_by_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("keep")
    refused = CliRunner().invoke(main, ["demo", "--force", "-o", str(file)])
    assert refused.exit_code == 2, (refused.output, refused.exception)
    assert "is a file, but a demo is written to a folder; try another -o" in refused.stderr
    assert file.read_text() == "keep"


def test_force_deletes_nothing_but_an_earlier_demo(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    kept = [tmp_path / "photographs" / "a.jpg", tmp_path / "mine.mp4", tmp_path / ".profile"]
    for file in [*kept, *(tmp_path / name for name in FILES)]:
        file.write_text("keep")
    clear_folder(tmp_path)
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == sorted(kept)
