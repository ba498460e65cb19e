"""What strangers may write into the texts of a plan."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import InputError
from pipeline.schema.clip import Grid, View, parse_recording
from pipeline.schema.colour import StaticHdr
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import dump_plan, read_plan
from pipeline.schema.texts import FileName, PicturePattern, Ratio, ViewTemplate
from tests.pipeline.ledger.test_ledger import plan_for


def accepts(kind: Any, text: str) -> bool:
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("text", ["", "%06d.png", "a b_%d.TIFF", "100%%_%03d.exr", "ü%d.tif"])
def test_patterns_of_pictures(text: str) -> None:
    assert accepts(PicturePattern, text)


@pytest.mark.parametrize(
    "text",
    [
        "/abs/file.png",
        "/abs/%06d.png",
        "../%06d.png",
        "a/%d.png",
        "file.png",
        "%d%d.png",
        "%d.sh",
        "%%d.png",
        "%9999d.png",
        "%s.png",
        "%d\0.png",
        "%d.png\n",
    ],
)
def test_other_patterns_of_pictures_are_refused(text: str) -> None:
    assert not accepts(PicturePattern, text)


@pytest.mark.parametrize("text", ["", "a", ".a", "..a", "...", "a..b", "00001-ff.nut"])
def test_names_of_files(text: str) -> None:
    assert accepts(FileName, text)


@pytest.mark.parametrize("text", [".", "..", "a/b", "/a", "../a", "a\0"])
def test_other_names_of_files_are_refused(text: str) -> None:
    assert not accepts(FileName, text)


@pytest.mark.parametrize("text", ["", "view_{row:02}_{col:02}.png", "im_t{row}_s{col}_*"])
def test_templates_of_views(text: str) -> None:
    assert accepts(ViewTemplate, text)


@pytest.mark.parametrize(
    "text",
    [
        "../../EVIL_{row:02}_{col:02}.png",
        "{row:0999999999}_{col}.png",
        "{row.__class__}",
        "{row!r}",
        "{row:{col}}",
        "{0}",
        "{",
    ],
)
def test_other_templates_of_views_are_refused(text: str) -> None:
    assert not accepts(ViewTemplate, text)


@pytest.mark.parametrize("text", ["25", "30000/1001", "29.97", "1/90000", "0/1"])
def test_ratios(text: str) -> None:
    assert TypeAdapter(Ratio).validate_json(json.dumps(text)) == Fraction(text)


@pytest.mark.parametrize(
    "value",
    ["1e999999999", "1e-999999999", "1/0", "1/00", "9" * 21, f"1/{'9' * 21}", "-1", "", "a", " 1"],
)
def test_other_ratios_are_refused_at_once(value: str) -> None:
    assert not accepts(Ratio, value)


@pytest.mark.parametrize("value", [1e308, float("inf"), float("nan"), 25, None, [1]])
def test_a_ratio_is_a_text(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Ratio).validate_json(json.dumps(value))


def test_options_cannot_be_smuggled_into_the_encoder() -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    assert StaticHdr(display=display).display == display
    for text in (f"{display}:csv=/tmp/evil", "G(1,2):csv=/tmp/evil", f"{display}\n"):
        with pytest.raises(ValidationError):
            StaticHdr(display=text)
    for threads in (-1, 10**18):
        with pytest.raises(ValidationError):
            Encoding(threads=threads)
    for field in ("codec", "preset", "pix_fmt", "profile"):
        with pytest.raises(ValidationError):
            Encoding.model_validate({field: "medium:csv=/tmp/evil"})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("codec", "h264\x1b]0;evil\x07"),
        ("pix_fmt", "yuv420p:log=/tmp/evil"),
        ("container", "concat:/etc/passwd"),
        ("fingerprint", "../../thesis.txt"),
        ("url", "a\0b"),
    ],
)
def test_texts_of_a_recording_are_checked(field: str, text: str, tmp_path: Path) -> None:
    clip = json.loads(plan_for(tmp_path / "out.mkv").input.model_dump_json())
    assert parse_recording(clip)
    with pytest.raises(ValidationError, match=r"expected at most [0-9]+ characters that match"):
        parse_recording(clip | {field: text})


def test_a_plan_with_such_a_text_is_refused_in_one_line(tmp_path: Path) -> None:
    text = dump_plan(plan_for(tmp_path / "out.mkv"))
    assert '"pictures": ""' in text
    (tmp_path / "plan.json").write_text(text.replace('"pictures": ""', '"pictures": "/a/b.png"'))
    with pytest.raises(InputError, match=r"is not a valid plan: pictures: ") as refused:
        read_plan(tmp_path / "plan.json")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [0, 1 << 40])
def test_a_plan_without_end_is_refused(size: int, tmp_path: Path) -> None:
    plan = Path("/dev/zero")
    if size:
        plan = tmp_path / "plan.json"
        with plan.open("wb") as file:
            file.truncate(size)  # takes no room on the disk
    with pytest.raises(InputError, match=r"cannot read a plan .*more than 1073 MB"):
        read_plan(plan)


def test_files_of_views_contain_no_nul() -> None:
    with pytest.raises(ValidationError):
        View(row=0, col=0, files=("a\0b",))
    with pytest.raises(ValidationError):
        Grid(layout="h5", views=(), axes="rchw3; rm")
    with pytest.raises(ValidationError):
        Plan.model_validate({"output": "a\0b"})
