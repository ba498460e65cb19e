"""The matrix of sound: what it calls kept is heard, what it calls lost is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.media import sound_matrix
from tests.support.programs import needs


@needs("ffmpeg")
def test_sound_is_kept_or_said_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_matrix, "OUTPUTS", {"mp4": "libx264", "webm": "libvpx-vp9"})
    found = {each.name: each.outcome for each in sound_matrix.outcomes("mkv alac")}
    assert found == {
        "mkv alac -> mp4": "kept",
        "mkv alac -> mp4, a part": "kept",
        "mkv alac -> webm": "lost",
        "mkv alac -> webm, a part": "lost",
    }


@needs("ffmpeg")
def test_other_samples_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = iter(range(10))
    decoded = sound_matrix._decoded

    def other(path: Path, streams: str) -> bytes:
        found = decoded(path, streams)
        return (
            found.replace(found[20000:20004], bytes([next(heard)] * 4))
            if streams == "0:a"
            else found
        )

    monkeypatch.setattr(sound_matrix, "_decoded", other)
    monkeypatch.setattr(sound_matrix, "OUTPUTS", {"mkv": "libx264"})
    outcomes = [each.outcome for each in sound_matrix.outcomes("mkv flac")]
    assert outcomes == ["FAULT", "kept"]
