"""Numbers in environment variables: above 0 and not too large, or one line with the name."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.media.container import read_pixel_limit
from pipeline.remote.cache import read_capacity
from pipeline.schema.parsing import read_number_variable


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "x", "1e999", "1e7"])
def test_other_values_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIPELINE_MAX_MEGAPIXELS", "PIPELINE_CACHE_GB", "PIPELINE_OTHER"):
        monkeypatch.setenv(name, text)
    with pytest.raises(InputError, match=f"PIPELINE_MAX_MEGAPIXELS is {text}; set it to a number"):
        read_pixel_limit()
    with pytest.raises(InputError, match=f"PIPELINE_CACHE_GB is {text}; set it to a number"):
        read_capacity()
    with pytest.raises(InputError, match="of seconds above 0 and at most 1,000,000, such as 2"):
        read_number_variable("PIPELINE_OTHER", 2.0, "seconds")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_OTHER", "")
    assert read_number_variable("PIPELINE_OTHER", 2.0, "seconds") == 2.0
