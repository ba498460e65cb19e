"""Measure the quality of an enhanced light field, by view and by distance from the HR views.

    python -m jobs.quality.light_field DATA/lightfields/lytro_stegosaurus

The central 8 x 8 views are downscaled by 8 (antialiased bicubic) and enhanced in four ways: by
bicubic up-sampling, with the HR view (0, 0), with the nearer of (0, 0) and (7, 7), and by fusing
both of these. The original views are the ground truth. The means exclude the HR views.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from crossnetpp.data.degradation import degrade
from jobs.bad_input import report_bad_input
from jobs.machine import write_result
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.measuring.views import LightFieldQuality, evaluate_light_field
from pipeline.media.pictures import stills
from pipeline.runs.run import run
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings, RunSettings

TABLE_VIEWS = ((1, 1), (3, 3), (7, 7))  # the views listed in the tables of the papers
# name -> engine, number of HR views, number of HR views fused for each view
CASES = {
    "bicubic": ("bicubic", 1, 1),
    "reference (0,0)": ("torch", 1, 1),
    "references (0,0) and (7,7), the nearer": ("torch", 2, 1),
    "references (0,0) and (7,7), fused": ("torch", 2, 2),
}


def write_views(source: Path, folder: Path, scale: int, crop: tuple[int, int]) -> None:
    """Write the views of `source` to folders in `folder`, cropped to multiples of 8 pixels.

    `hr` is the ground truth, `lr` the input, and `refs1` and `refs2` contain one and two HR views.
    `crop` is the number of central rows and columns of the grid to use.
    """
    clip = open_light_field(source, GridSettings(crop_grid=crop))
    assert clip is not None
    (top, rows), (left, cols) = clip.grid.rows, clip.grid.cols
    corners = [(0, 0), (rows - 1, cols - 1)]
    for name in ("hr", "lr", "refs1", "refs2"):
        (folder / name).mkdir()

    reader = ViewReader(clip)
    for position, view in enumerate(clip.grid.views):
        hr = reader.get(position)
        hr = hr[: hr.shape[0] // 8 * 8, : hr.shape[1] // 8 * 8]

        place = view.row - top, view.col - left
        name = f"view_{place[0]:02}_{place[1]:02}.png"
        stills.save_picture(folder / "hr" / name, hr)
        stills.save_picture(folder / "lr" / name, degrade(hr, scale))
        for count in (1, 2):
            if place in corners[:count]:
                stills.save_picture(folder / f"refs{count}" / name, hr)
    reader.close()


def enhance(
    folder: Path, engine: str, references: int, fused: int, *, consistent: bool = False
) -> LightFieldQuality:
    """Run the pipeline on the views in `folder`, and return the quality of the result.

    The run has `references` HR views (1 or 2), and each view borrows from `fused` of them.
    """
    out = folder / "out"
    settings = RunSettings(
        input=str(folder / "lr"),
        ref_stream=str(folder / f"refs{references}"),
        output=str(out),
        engine=engine,
        runner="inline",
        ref_count=fused,
        consistent=consistent,
        force=True,
    )
    result = run(settings)
    plan = read_plan(result.reference_map)

    enhanced = open_light_field(out)
    assert enhanced is not None
    return evaluate_light_field(enhanced, str(folder / "hr"), plan, GridSettings())


def summarise_quality(found: LightFieldQuality) -> dict[str, Any]:
    """Return the figures for the result file: PSNR in dB, SSIM, and measures of consistency."""
    psnr = {(view.row, view.col): view.psnr for view in found.views}
    named = {f"({row},{col})": psnr.get((row, col)) for row, col in TABLE_VIEWS}
    measured = [value for value in named.values() if value is not None]
    common = [psnr[place] for place in TABLE_VIEWS[:2] if place in psnr]

    return {
        "psnr": round(found.psnr, 3),
        "ssim": found.ssim,
        "views": {name: value for name, value in named.items() if value is not None},
        "mean_of_named": round(sum(measured) / len(measured), 3),
        "mean_of_(1,1)_and_(3,3)": round(sum(common) / len(common), 3),
        "worst": {"view": [found.worst.row, found.worst.col], "psnr": found.worst.psnr},
        "by_steps": {f"{near.steps:g}": near.psnr for near in found.by_distance},
        "epi_psnr": found.epi_psnr,
        "warp_error": found.warp_error,
        "warp_error_truth": found.warp_error_truth,
        "flicker": found.flicker,
    }


@report_bad_input()
def main() -> None:
    """Measure one light field, and write jobs/results/NAME.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="light field of HR views")
    parser.add_argument("--scale", type=int, default=8, choices=(2, 4, 8))
    parser.add_argument("--grid", type=int, nargs=2, default=(8, 8), metavar=("ROWS", "COLS"))
    parser.add_argument("--consistent", action="store_true", help="also measure the second pass")
    parser.add_argument("--name", default="light_field", help="write jobs/results/NAME.json")
    arguments = parser.parse_args()

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_views(arguments.scene, Path(folder), arguments.scale, tuple(arguments.grid))
        for name, (engine, references, fused) in CASES.items():
            rows[name] = summarise_quality(enhance(Path(folder), engine, references, fused))
        if arguments.consistent:
            found = enhance(Path(folder), "torch", 1, 1, consistent=True)
            rows["reference (0,0), second pass"] = summarise_quality(found)

    result = {"scene": arguments.scene.name, "scale": arguments.scale, "cases": rows}
    write_result(arguments.name, result)


if __name__ == "__main__":
    main()
