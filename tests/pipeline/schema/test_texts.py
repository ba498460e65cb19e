"""What strangers may write into the texts of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import InputError
from pipeline.schema.clip import Grid, StaticHdr, View
from pipeline.schema.encoding import Encoding
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import dump_plan, read_plan
from pipeline.schema.texts import FileName, PicturePattern, ViewTemplate
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


def test_options_cannot_be_smuggled_into_the_encoder() -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    assert StaticHdr(display=display).display == display
    for text in (f"{display}:csv=/tmp/evil", "G(1,2):csv=/tmp/evil", f"{display}\n"):
        with pytest.raises(ValidationError):
            StaticHdr(display=text)
    for field in ("codec", "preset", "pix_fmt", "profile"):
        with pytest.raises(ValidationError):
            Encoding.model_validate({field: "medium:csv=/tmp/evil"})


def test_a_plan_with_such_a_text_is_refused_in_one_line(tmp_path: Path) -> None:
    text = dump_plan(plan_for(tmp_path / "out.mkv"))
    assert '"pictures": ""' in text
    (tmp_path / "plan.json").write_text(text.replace('"pictures": ""', '"pictures": "/a/b.png"'))
    with pytest.raises(InputError, match=r"invalid plan in .*: pictures: ") as refused:
        read_plan(tmp_path / "plan.json")
    assert "\n" not in str(refused.value)


def test_files_of_views_contain_no_nul() -> None:
    with pytest.raises(ValidationError):
        View(row=0, col=0, files=("a\0b",))
    with pytest.raises(ValidationError):
        Grid(layout="h5", views=(), axes="rchw3; rm")
    with pytest.raises(ValidationError):
        Plan.model_validate({"output": "a\0b"})
