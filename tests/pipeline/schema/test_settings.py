"""Values of settings as users and Python callers write them, and as they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.schema.options import list_options
from pipeline.schema.settings import OPTION_GROUPS, RunSettings


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("grid", "8x9", (8, 9)),
        ("crop_grid", (5, 5), (5, 5)),
        ("start", "1:02.5", 62.5),
        ("end", 3, 3.0),
        ("scale", 4, "4"),
        ("scale", "auto", "auto"),
        ("scale", "2.0", "2"),
        ("scale", 1.5, "1.5"),
        ("scale", "2.25", "2.25"),
        ("size", "1920X1080", "1920x1080"),
        ("size", " 1080P", "1080p"),
        ("size", "4K", "2160p"),
        ("size", "Reference", "reference"),
        ("ref_offset", "auto", "auto"),
        ("ref_offset", "-1.5", -1.5),
        ("ref_view", "0,3", (0, 3)),
        ("ref_view", "center", "center"),
        ("ref_position", "0.5,-1", (0.5, -1.0)),
        ("codec", "x265", "libx265"),
        ("model", Path("own.safetensors"), "own.safetensors"),
        ("output", Path("out.mkv"), "out.mkv"),
    ],
)
def test_values_are_parsed(name: str, given: object, value: object) -> None:
    settings = RunSettings.model_validate({"input": "a.mkv", name: given})
    assert getattr(settings, name) == value

    # what is stored, and passed to child processes, means the same
    stored = settings.model_dump(mode="json", exclude_unset=True)
    assert RunSettings.model_validate(stored) == settings


@pytest.mark.parametrize(
    "name", ["crf", "start", "ref_offset", "batch", "workers", "segment", "output", "audio"]
)
@pytest.mark.parametrize("given", [True, False])
def test_only_flags_can_be_true_or_false(name: str, given: bool) -> None:
    with pytest.raises(ValidationError, match="expected a value, not true or false"):
        RunSettings.model_validate({"input": "a.mkv", name: given})
    flags = {"force": given, "trust_reference": given, "consistent": given}
    settings = RunSettings.model_validate({"input": "a.mkv", **flags})
    assert [settings.force, settings.trust_reference, settings.consistent] == [given] * 3


def test_tuples_are_stored_as_users_type_them() -> None:
    settings = RunSettings.model_validate(
        {"input": "a.mkv", "grid": (8, 9), "ref_view": (0, 3), "ref_position": (0.5, -1)}
    )
    stored = settings.model_dump(mode="json", exclude_unset=True, exclude={"input"})
    assert stored == {"grid": "8x9", "ref_view": "0,3", "ref_position": "0.5,-1.0"}


def test_a_number_or_a_word_is_no_choice_of_words() -> None:
    choices = {field.name: field.choices for field in list_options(*OPTION_GROUPS)}
    assert choices["ref_offset"] == []
    assert choices["ref_view"] == []
    assert choices["scale"] == []
    assert choices["select"] == ["auto", "time", "view", "content"]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("scale", text) for text in ("", "x2", "0.99", "8.01", "-2", "nan", "inf", "2,5", "1e9")),
        *(("scale", value) for value in (True, 0, 9, 2.5j, (2, 2))),
        *(("size", text) for text in ("", "p", "0p", "0x10", "10x", "1920", "1920*1080", "-2x2")),
        *(("size", text) for text in ("1080p60", "1920x1080p", "1e3x10", "reference.png", "auto")),
        *(("size", value) for value in (1080, (1920, 1080), True)),
    ],
)
def test_other_sizes_are_refused(name: str, given: object) -> None:
    with pytest.raises(ValidationError):
        RunSettings.model_validate({"input": "a.mkv", name: given})
