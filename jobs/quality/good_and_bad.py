"""Make the pictures in docs/can-and-cannot.md, which show what the network can and cannot do.

    python -m jobs.quality.good_and_bad --data FOLDER

FOLDER contains the test material that docs/can-and-cannot.md lists with its licences. A part of
each frame is reduced by 4 and enhanced with one or two references. A picture shows a detail of this
part in four columns: plain up-sampling, the enhanced frame, the original, and the nearest reference
at the same place. The job writes the pictures to docs/images/cases, and the PSNR in RGB over the
whole part, except its margin, to jobs/results/good_and_bad.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.data.degradation import degrade
from crossnetpp.metrics import measure_quality
from jobs.bad_input import report_bad_input
from jobs.machine import write_result
from pipeline import Enhancer
from pipeline.errors import InputError
from pipeline.media.pictures.stills import load_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe

ROOT = Path(__file__).parents[2]
SCALE = 4
MARGIN = 8  # pixels at each edge that are not measured, because the references end there
ZOOM = 2
GAP = 4  # pixels between the columns
JPEG_QUALITY = 85

Picture = NDArray[np.uint8]
Read = Callable[[Path], Picture]


def read_file(folder: Path, *, name: str) -> Picture:
    """Return the picture `name` in the folder of test material."""
    return np.asarray(load_picture(str(folder / name)), np.uint8)


def read_clip_frame(folder: Path, *, name: str, number: int) -> Picture:
    """Return frame `number` of the clip `name` in the folder of test material."""
    (frame,) = islice(read_frames(probe(str(folder / name))), number, number + 1)
    return np.asarray(frame.rgb, np.uint8)


def in_clip(name: str, number: int) -> Read:
    """Return a function that reads frame `number` of the clip `name` in a given folder."""
    return partial(read_clip_frame, name=name, number=number)


def in_file(name: str) -> Read:
    """Return a function that reads the picture `name` in a given folder."""
    return partial(read_file, name=name)


@dataclass(frozen=True)
class Case:
    """A frame, its references, and the detail that shows how well the network does."""

    name: str
    frame: Read
    references: tuple[Read, ...]
    distances: tuple[float, ...]
    """How many frames or views away the references are."""
    corner: tuple[int, int]
    """(row, column) of the part's top left corner in the frame."""
    detail: tuple[int, int]
    """(row, column) of the detail's top left corner in the part."""
    size: tuple[int, int] = (256, 320)
    """Height and width of the part."""
    shown: tuple[int, int] = (84, 126)
    """Height and width of the detail."""


_SINTEL = "frames_sintel/frame_00{}.png"
_SIGNER = "clips/asl_again.mkv"
_STEGOSAURUS = "lightfields/lytro_stegosaurus/view_04_0{}.png"
_MOTORCYCLE = in_file("stereo/motorcycle_left.png"), (in_file("stereo/motorcycle_right.png"),)
_BEFORE_AND_AFTER = (7, 8)

CASES = (
    Case(
        "texture",
        in_file(_SINTEL.format(18)),
        (in_file(_SINTEL.format(16)), in_file(_SINTEL.format(20))),
        distances=(2, 2),
        corner=(60, 310),
        detail=(100, 50),
    ),
    Case(
        "text",
        in_clip(_SIGNER, 37),
        (in_clip(_SIGNER, 30), in_clip(_SIGNER, 45)),
        _BEFORE_AND_AFTER,
        corner=(120, 180),
        detail=(58, 80),
    ),
    Case(
        "view",
        in_file(_STEGOSAURUS.format(7)),
        (in_file(_STEGOSAURUS.format(4)),),
        distances=(3,),
        corner=(20, 180),
        detail=(16, 60),
    ),
    Case("thin", *_MOTORCYCLE, distances=(1,), corner=(60, 340), detail=(32, 4)),
    Case("parallax", *_MOTORCYCLE, distances=(1,), corner=(60, 340), detail=(56, 128)),
    Case(
        "reveal",
        in_file(_SINTEL.format(25)),
        (in_file(_SINTEL.format(16)),),
        distances=(9,),
        corner=(180, 704),
        detail=(100, 80),
    ),
    Case(
        "unrelated",
        in_file(_SINTEL.format(18)),
        (in_clip("videos/flower.mp4", 60),),
        distances=(2,),
        corner=(60, 310),
        detail=(100, 50),
    ),
)


def cut_part(picture: Picture, case: Case) -> Picture:
    """Return the case's part of a picture."""
    height, width = case.size
    top, left = case.corner
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def show_detail(picture: Picture, case: Case) -> Picture:
    """Return the case's detail of a part, magnified without smoothing."""
    (top, left), (height, width) = case.detail, case.shown
    detail = picture[top : top + height, left : left + width]
    return np.kron(detail, np.ones((ZOOM, ZOOM, 1), np.uint8))


def make_case(case: Case, folder: Path, enhancer: Enhancer) -> tuple[Picture, dict[str, Any]]:
    """Return the case's picture, and the PSNR in dB of the bicubic and the enhanced part."""
    original = cut_part(case.frame(folder), case)
    references = [cut_part(read(folder), case) for read in case.references]
    lr = degrade(original, SCALE)
    made = enhancer.frame(lr, references, distances=list(case.distances))
    plain = Enhancer(engine="bicubic", scale=SCALE).frame(lr, references)

    columns = [show_detail(np.asarray(each), case) for each in (plain, made, original)]
    columns.append(show_detail(references[0], case))
    gap = np.full((len(columns[0]), GAP, 3), 255, np.uint8)
    parts = [part for column in columns for part in (column, gap)][:-1]

    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    figures = {
        name: round(measure_quality(np.asarray(each)[inside], original[inside]).psnr, 2)
        for name, each in (("bicubic", plain), ("fast", made))
    }
    return np.concatenate(parts, axis=1), {"case": case.name, **figures}


@report_bad_input()
def main() -> None:
    """Write the pictures and the figures of all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the test material")
    parser.add_argument("--cases", nargs="*", help="names of cases (default all)")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "images" / "cases")
    arguments = parser.parse_args()

    if not arguments.data.is_dir():
        raise InputError(f"found no folder {arguments.data}, expected the one with the material")
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    enhancer = Enhancer(engine="torch", scale=SCALE)
    rows = []
    for case in CASES:
        if arguments.cases and case.name not in arguments.cases:
            continue
        picture, figures = make_case(case, arguments.data, enhancer)
        rows.append(figures)
        file = arguments.pictures / f"{case.name}.jpg"
        bgr = np.ascontiguousarray(picture[:, :, ::-1])
        cv2.imwrite(str(file), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not arguments.cases:
        write_result("good_and_bad", {"scale": SCALE, "cases": rows})


if __name__ == "__main__":
    main()
