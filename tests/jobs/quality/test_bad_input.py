"""Jobs report input that they cannot use in one line, and end with status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.quality import clips, good_and_bad, light_field, limits, mix_weights


@pytest.mark.parametrize(
    ("main", "words", "found"),
    [
        (clips.main, ["none.mp4"], "none.mp4 does not exist"),
        (good_and_bad.main, ["--data", "none", "--pictures", "made"], "no folder none"),
        (light_field.main, ["none"], "none; expected a light field"),
        (limits.main, ["--data", "none"], "found no folder none"),
        (mix_weights.main, ["none", "none", "--share", "0", "-o", "made"], "configuration 'none'"),
        (mix_weights.main, ["fast_quick", "none", "--share", "0", "-o", "made"], "model 'none'"),
    ],
)
def test_missing_material_ends_with_status_2(
    main: Callable[[], None],
    words: list[str],
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["job", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert found in message
    assert list(tmp_path.iterdir()) == []
