"""The sound matrix: preserved streams sound the same, and lost ones are noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.media import sound_matrix
from tests.support.programs import needs


@needs("ffmpeg")
def test_sound_is_kept_or_noted_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_matrix, "OUTPUTS", {"mp4": "libx264", "webm": "libvpx-vp9"})
    found = {result.name: result.outcome for result in sound_matrix.check_all("mkv alac")}
    assert found == {
        "mkv alac -> mp4": "kept",
        "mkv alac -> mp4, a part": "kept",
        "mkv alac -> webm": "lost",
        "mkv alac -> webm, a part": "lost",
    }


@needs("ffmpeg")
def test_other_samples_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = iter(range(10))
    decode = sound_matrix._decode

    def decode_with_a_fault(path: Path, streams: str) -> bytes:
        found = decode(path, streams)
        if streams != "0:a":
            return found
        return found.replace(found[20000:20004], bytes([next(heard)] * 4))

    monkeypatch.setattr(sound_matrix, "_decode", decode_with_a_fault)
    monkeypatch.setattr(sound_matrix, "OUTPUTS", {"mkv": "libx264"})
    outcomes = [result.outcome for result in sound_matrix.check_all("mkv flac")]
    assert outcomes == ["FAULT", "kept"]
