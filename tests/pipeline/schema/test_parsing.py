"""Settings in groups."""

from __future__ import annotations

from pipeline.schema.parsing import narrow_settings
from pipeline.schema.settings import GridSettings, RunSettings, ViewSettings


def test_a_group_has_the_same_values_and_the_same_fields_set() -> None:
    settings = RunSettings(input="in", layout="quilt", ref_view="1,2", ref_position="0.5,-1")
    grid = narrow_settings(settings, GridSettings)
    assert type(grid) is GridSettings
    assert grid == GridSettings(layout="quilt")
    assert grid.model_fields_set == {"layout"}

    views = narrow_settings(settings, ViewSettings)
    assert (views.layout, views.ref_view, views.ref_position) == ("quilt", (1, 2), (0.5, -1.0))
    assert views.model_fields_set == {"layout", "ref_view", "ref_position"}
    assert narrow_settings(views, ViewSettings) == views
