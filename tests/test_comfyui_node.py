"""The node for ComfyUI in examples/ loads from its folder and works on tensors, without ComfyUI."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from pipeline import Enhancer, InputError
from tests.support import ROOT
from tests.support.recordings import texture

FOLDER = ROOT / "examples" / "comfyui_crossnetpp"


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """Return the folder, loaded as ComfyUI loads those in custom_nodes."""
    spec = importlib.util.spec_from_file_location("comfyui_crossnetpp", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return small images (count x 24 x 32 x 3) and the sharp ones (count x 96 x 128 x 3)."""
    sharp = [texture(number, 96, 128) for number in range(count)]
    small = [cv2.resize(each, (32, 24), interpolation=cv2.INTER_AREA) for each in sharp]
    images, key_frames = (torch.from_numpy(np.stack(each)) / 255 for each in (small, sharp))
    return images, key_frames


def test_the_node_says_what_it_takes(package: ModuleType) -> None:
    assert set(package.NODE_DISPLAY_NAME_MAPPINGS) == set(package.NODE_CLASS_MAPPINGS)
    for node in package.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        takes = inspect.signature(getattr(node, node.FUNCTION)).parameters
        assert [*inputs["required"], *inputs["optional"]] == list(takes)[1:]
        assert all(takes[name].default is inspect.Parameter.empty for name in inputs["required"])
        for name, (kind, *more) in inputs["optional"].items():
            first = kind[0] if isinstance(kind, list) else more[0]["default"]
            assert takes[name].default == first
        assert node.RETURN_TYPES == ("IMAGE",)
        listed = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.M)
        assert listed == list(takes)[1:]


def test_images_are_enhanced_as_by_the_enhancer(package: ModuleType) -> None:
    images, sharp = make_images(5)
    keys = sharp[[0, 4]]
    node = package.NODE_CLASS_MAPPINGS["CrossNetEnhance"]()
    (made,) = node.enhance(images, keys, "0, 4", engine="torch")
    assert made.shape == (5, 96, 128, 3)
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1
    expected = Enhancer("fast", "torch").video(images, [(0, keys[0]), (4, keys[1])])
    assert torch.equal(made, torch.stack(list(expected)))

    def measure_error(result: torch.Tensor) -> float:
        return float((result - sharp).square().mean())

    (plain,) = node.enhance(images, keys, "0, 4", engine="bicubic")
    assert measure_error(made) < 0.7 * measure_error(plain)
    # key frames at the wrong places are worth less, but no harm
    (wrong,) = node.enhance(images, keys, "4, 0", engine="torch")
    assert measure_error(made) < measure_error(wrong)


def test_transparency_and_a_single_image_are_accepted(package: ModuleType) -> None:
    images, sharp = make_images(1)
    node = package.NODE_CLASS_MAPPINGS["CrossNetEnhance"]()
    opaque = torch.ones(1, 24, 32, 1)
    (made,) = node.enhance(torch.cat((images, opaque), dim=3), sharp, "0", engine="bicubic")
    assert made.shape == (1, 96, 128, 3)


@pytest.mark.parametrize(
    ("indexes", "line"),
    [
        ("", "the indexes '' do not match the 2 key frames; write one frame number for each"),
        ("0", "match the 2 key frames; write one frame number for each"),
        ("0, 1, 2", "match the 2 key frames; write one frame number for each"),
        ("0, -1", "match the 2 key frames; write one frame number for each"),
        ("0, 1.5", "match the 2 key frames; write one frame number for each"),
        ("0, three", "match the 2 key frames; write one frame number for each"),
        ("0, 3", "there is no image 3 among the 3 images; use numbers from 0 (the first) to 2"),
    ],
)
def test_wrong_indexes_are_reported(package: ModuleType, indexes: str, line: str) -> None:
    images, sharp = make_images(3)
    node = package.NODE_CLASS_MAPPINGS["CrossNetEnhance"]()
    with pytest.raises(InputError, match=re.escape(line)):
        node.enhance(images, sharp[:2], indexes, engine="bicubic")


def test_progress_is_shown_inside_comfyui(
    package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "__init__.py").touch()
    (tmp_path / "comfy" / "utils.py").write_text(
        "shown = []\n"
        "class ProgressBar:\n"
        "    def __init__(self, total):\n"
        "        shown.append(total)\n"
        "    def update_absolute(self, value, total=None, preview=None):\n"
        "        shown.append(value)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    images, sharp = make_images(3)
    node = package.NODE_CLASS_MAPPINGS["CrossNetEnhance"]()
    node.enhance(images, sharp[:1], "0", engine="bicubic")
    shown = sys.modules.pop("comfy.utils").shown
    sys.modules.pop("comfy")
    assert shown == [3, 1, 2, 3]
