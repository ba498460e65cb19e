"""The options of `pipeline run` that are derived from the settings: name, type and default."""

from __future__ import annotations

import click
import pytest

from pipeline.cli.options import make_settings
from pipeline.cli.run import run
from pipeline.errors import InputError

# Option -> (type, default): "text" is parsed by the settings, None leaves their default.
OPTIONS: dict[str, tuple[str, object]] = {
    "manifest": ("text", None),
    "skip_existing": ("flag", False),
    "ground_truth": ("text", None),
    "adapt_together": ("flag", False),
    "quiet": ("flag", False),
    "as_json": ("flag", False),
    "json_progress": ("flag", False),
    "output": ("text", None),
    "to": ("folder|lenslet|mosaic|quilt|h5|video", None),
    "fps": ("float", None),
    "force": ("flag", False),
    "ref_stream": ("text", None),
    "scale": ("text", None),
    "size": ("text", None),
    "select": ("auto|time|view|content", None),
    "ref_offset": ("text", None),
    "max_ref_distance": ("float", None),
    "ref_count": ("1<=x<=8", None),
    "capture": ("text", None),
    "trust_reference": ("flag", False),
    "layout": ("folder|lenslet|mosaic|quilt|h5|video|stereo", None),
    "grid": ("text", None),
    "crop_grid": ("text", None),
    "order": ("row,col|col,row", None),
    "template": ("text", None),
    "dataset": ("text", None),
    "axes": ("text", None),
    "start": ("text", None),
    "end": ("text", None),
    "on_error": ("stop|conceal", None),
    "deinterlace": ("auto|off|bwdif", None),
    "sandbox": ("auto|on|off", None),
    "ref_view": ("text", None),
    "ref_position": ("text", None),
    "consistent": ("flag", None),
    "codec": ("text", None),
    "quality": ("visually-lossless|high|small", None),
    "crf": ("float", None),
    "preset": ("text", None),
    "pix_fmt": ("text", None),
    "audio": ("copy|none", None),
    "engine": ("text", None),
    "model": ("text", None),
    "effort": ("auto|fast|normal|best", None),
    "adapt": ("text", None),
    "runner": ("auto|inline|ray", None),
    "address": ("text", None),
    "workers": ("x>=1", None),
    "accelerator": ("text", None),
    "batch": ("x>=1", None),
    "segment": ("float", None),
    "placement": ("auto|fused|split", None),
    "plan": ("text", None),
    "report": ("text", None),
    "dry_run": ("flag", False),
    "preview": ("flag", False),
    "stream": ("y4m|rawvideo", None),
    "command": ("text", None),
    "watch": ("text", None),
    "watch_until_idle": ("float range", None),
}


def describe_type(option: click.Option) -> str:
    if option.is_flag:
        return "flag"
    if isinstance(option.type, click.Choice):
        return "|".join(option.type.choices)
    if isinstance(option.type, click.IntRange):
        least, most = option.type.min, option.type.max
        return f"x>={least}" if most is None else f"{least}<=x<={most}"
    return option.type.name


def test_every_option_of_run_keeps_its_type_and_default() -> None:
    values = run.make_context("run", ["clip.mp4"]).params
    found = {
        option.name: (describe_type(option), values[str(option.name)])
        for option in run.params
        if isinstance(option, click.Option) and option.expose_value
    }
    assert found == OPTIONS
    assert list(found) == list(OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "value"), [([], None), (["--consistent"], True), (["--no-consistent"], False)]
)
def test_a_pair_of_flags_has_three_values(arguments: list[str], value: bool | None) -> None:
    assert run.make_context("run", ["clip.mp4", *arguments]).params["consistent"] is value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ref_offset": "soon"}, "'soon' is not a valid value for --ref-offset: "),
        (
            {"ref_view": "top"},
            "'top' is not a valid value for --ref-view: expected two whole numbers",
        ),
        (
            {"grid": "8"},
            "'8' is not a valid value for --grid: expected two whole numbers such as 8x8",
        ),
        ({"start": "later"}, "'later' is not a valid value for --start: "),
        ({"end": "nan"}, "is not a valid value for --end: "),
        ({"ref_position": "1"}, "is not a valid value for --ref-position: "),
        ({"workers": 0}, "0 is not a valid value for --workers: "),
    ],
)
def test_a_value_that_cannot_be_parsed_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_settings({"input": "clip.mp4"} | values)
