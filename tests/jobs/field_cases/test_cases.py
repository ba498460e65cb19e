"""The cases of jobs/field_cases come out right. Their kinds have tests of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.field_cases.__main__ import CASES, main
from jobs.field_cases.case import Bench, Case, UnexpectedError
from tests.support.programs import needs

pytestmark = needs("ffmpeg")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_case_comes_out_right(case: Case, tmp_path: Path) -> None:
    assert case.check(Bench(tmp_path))


def test_a_wrong_result_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(bench: Bench) -> str:
        raise UnexpectedError("7 frames of 8")

    monkeypatch.setattr("jobs.field_cases.__main__.CASES", (Case("B1", "some", "8", check),))
    assert main(["B1"]) == 1
    assert "WRONG B1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="try a number"):
        main(["B99"])
