"""Values of settings as users and Python callers write them, and as they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    assert choices["scale"] == ["auto", "2", "4", "8"]
