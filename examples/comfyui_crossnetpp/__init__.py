"""A ComfyUI node that enlarges a batch of images with detail from a few sharp key frames.

Copy or link this folder into ComfyUI's `custom_nodes`, and install the package in ComfyUI's Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from pipeline import Enhancer, InputError

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]


Scale = Literal["auto", "2", "4", "8"]


class CrossNetEnhance:
    """Enhances images, which are the consecutive frames of one video."""

    CATEGORY = "image/upscaling"
    DESCRIPTION = (
        "Enlarges the frames of a video 2, 4 or 8 times with detail from sharp key frames. "
        "Nothing is invented: areas that no key frame shows are enlarged without added detail."
    )
    FUNCTION = "enhance"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802 - ComfyUI's name
        """Return the node's inputs in ComfyUI's format."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames of a video, in order."}),
                "key_frames": ("IMAGE", {"tooltip": "Sharp pictures of some of these frames."}),
                "indexes": (
                    "STRING",
                    {"default": "0", "tooltip": "The frame each key frame shows, from 0."},
                ),
            },
            "optional": {
                "model": (["fast", "fast-recorded"], {"tooltip": "fast-recorded suits H.264."}),
                "scale": (["auto", "2", "4", "8"], {"tooltip": "auto: from the key frames' size."}),
                "rate": (
                    "FLOAT",
                    {
                        "default": 25.0,
                        "min": 0.1,
                        "max": 1000.0,
                        "tooltip": "Frames per second; key frames serve frames within 2 seconds.",
                    },
                ),
                "engine": (["auto", "torch", "tensorrt", "int8", "onnx", "openvino", "bicubic"],),
            },
        }

    def enhance(
        self,
        images: Tensor,
        key_frames: Tensor,
        indexes: str,
        model: str = "fast",
        scale: Scale = "auto",
        rate: float = 25.0,
        engine: str = "auto",
    ) -> tuple[Tensor]:
        """Return the enlarged images (B x height x width x 3) in a tuple, as ComfyUI expects.

        `images` are B x H x W x 3 and `key_frames` K x H' x W' x 3, all RGB in 0..1; a fourth
        channel is dropped. `indexes` lists the K frame numbers of the key frames. Raises InputError
        if the inputs cannot be used, and StageError if the engine fails.
        """
        numbers = parse_indexes(indexes, len(key_frames), len(images))
        # a fourth channel is transparency, which key frames cannot enhance
        references = [
            (number, key[..., :3]) for number, key in zip(numbers, key_frames, strict=True)
        ]
        count_done = make_counter(len(images))

        made = images[:0]
        enhancer = load_enhancer(model, engine, scale)
        enhanced = enhancer.video(list(images[..., :3]), references, rate=rate)
        for number, frame in enumerate(enhanced):
            if number == 0:
                made = frame.new_empty((len(images), *frame.shape))
            made[number] = frame
            count_done(number + 1)
        return (made,)


def parse_indexes(text: str, count: int, frames: int) -> list[int]:
    """Return the frame numbers in text such as "0, 15, 30", one for each of `count` key frames.

    Raises InputError unless there are exactly `count` numbers, all of them below `frames`.
    """
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    numbers = [int(word) for word in words if word.isdecimal()]
    if len(numbers) != len(words) or len(numbers) != count:
        raise InputError(
            f"the indexes {text!r} do not match the {count} key frame{'s' if count != 1 else ''}; "
            "write one frame number for each key frame, in the same order, such as 0, 15, 30"
        )
    if max(numbers, default=0) >= frames:
        raise InputError(
            f"there is no image {max(numbers)} among the {frames} "
            f"image{'s' if frames != 1 else ''}; use numbers from 0 (the first) to {frames - 1}"
        )
    return numbers


@lru_cache(maxsize=1)
def load_enhancer(model: str, engine: str, scale: Scale) -> Enhancer:
    """Return an enhancer with these options, whose engine stays loaded between runs."""
    return Enhancer(model, engine, scale=scale)


def make_counter(total: int) -> Callable[[int], None]:
    """Return a function that reports the number of finished images to ComfyUI, if it is running."""
    try:
        from comfy.utils import ProgressBar  # type: ignore[import-not-found]
    except ImportError:
        return lambda done: None
    # the update raises an exception if the user stops the workflow
    update: Callable[[int], None] = ProgressBar(total).update_absolute
    return update


NODE_CLASS_MAPPINGS: dict[str, type[Any]] = {"CrossNetEnhance": CrossNetEnhance}
NODE_DISPLAY_NAME_MAPPINGS = {"CrossNetEnhance": "Enhance with Key Frames (CrossNet++)"}
