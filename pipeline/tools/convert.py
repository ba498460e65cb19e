"""Convert light fields from one layout to another without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.errors import InputError, VerificationError
from pipeline.ledger.durable import check_free, fsync_tree, publish_output, staging_folder
from pipeline.lightfield import sidecar
from pipeline.lightfield.opening import open_light_field, require_light_field
from pipeline.lightfield.reader import ViewReader, iterate_frames
from pipeline.lightfield.sinks import open_sink
from pipeline.lightfield.targets import (
    check_replaceable,
    check_sheet_size,
    check_target,
    make_target_grid,
    name_target,
)
from pipeline.paths import check_new_file, check_not_read
from pipeline.progress import SILENT, Count, Reporter
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.model import Model
from pipeline.schema.settings import GridSettings


class ConversionResult(Model):
    """The light field that was written; the fields of `pipeline convert --json`."""

    output: str
    layout: str
    rows: int
    cols: int
    views: int
    moments: int
    sidecar: str


def convert_light_field(
    source: str,
    output: Path | None,
    to: str,
    *,
    grid_settings: GridSettings | None = None,
    template: str | None = None,
    force: bool = False,
    progress: Reporter = SILENT,
) -> ConversionResult:
    """Write the light field `source` in the layout `to`, read it back and compare all views.

    `template` is the template of the view files' names, if the layout has such files. Raises
    InputError if `source` is not a light field or `output` cannot be written, and VerificationError
    if a view differs.
    """
    clip = require_light_field(source, grid_settings)
    # sheets are written as pictures, even if those of the source are the frames of a video
    pictures = clip.grid.model_copy(update={"sheets": None})
    target = clip.model_copy(update={"grid": pictures})
    out = (output or name_target(target, to, f"_{to}")).absolute()
    check_target(target, to, out)
    check_output(out, clip, force=force)

    grid = make_target_grid(target, to, out, template)
    check_sheet_size(grid, (clip.height, clip.width))

    with staging_folder(out) as work:
        root = work / out.name
        with progress.step("converting", grid.count) as count:
            copy_views(clip, grid, out, root, count)
        with progress.step("comparing", clip.grid.count) as count:
            check_copy(clip, root, count)
        fsync_tree(root)
        check_free(root, out, force=force)
        sidecar.publish_sidecar(root, out)
        publish_output(root, out, work, force=force)

    return ConversionResult(
        output=str(out),
        layout=to,
        rows=grid.rows[1],
        cols=grid.cols[1],
        views=len(grid.views),
        moments=grid.moments,
        sidecar=str(sidecar.sidecar_path(out)),
    )


def check_output(out: Path, clip: LightField, *, force: bool) -> None:
    """Raise InputError if the output would replace the input or already exists.

    With `force`, it may exist if it is a file, or a folder that can be replaced. InputError is also
    raised if the output's parent folder does not exist.
    """
    taken = {Path(clip.path).resolve(), *(Path(file).resolve() for file in clip.files)}
    if out.resolve() in taken:
        raise InputError(
            f"the output {out} is also the input, which must not be replaced; try another -o"
        )
    if any(out.resolve() in path.parents for path in taken):
        raise InputError(
            f"the input {clip.path} is inside the output {out}, which would replace it; try "
            "another -o"
        )

    check_not_read(out, clip.list_paths())
    check_not_read(sidecar.sidecar_path(out), [sidecar.sidecar_path(Path(clip.path))])
    check_new_file(out, force=force)
    if out.is_dir():
        check_replaceable(out)


def copy_views(clip: LightField, grid: Grid, out: Path, root: Path, count: Count) -> None:
    """Write all views of `clip` to `root` in the layout of `grid`, with a sidecar.

    `out` is the path to which the output will be moved. `count` receives the number of frames
    written so far: one per view and moment.
    """
    reader = ViewReader(clip)
    sink = open_sink(clip, grid, out, root, (clip.height, clip.width))
    try:
        frames = iterate_frames(grid, by_view=sink.by_view)
        for done, (position, moment) in enumerate(frames, 1):
            sink.write(position, moment, reader.get(clip.grid.number(position, moment)))
            count(done)
    finally:
        sink.close()
        reader.close()
    sidecar.write_sidecar(clip, grid, out, root)


def check_copy(clip: LightField, root: Path, count: Count) -> None:
    """Read the output back and compare every view; raises VerificationError if one differs.

    `root` is the path of the output in the staging folder. `count` receives the number of frames
    compared so far: one per view and moment.
    """
    made = open_light_field(root)
    if made is None:
        raise VerificationError(
            f"the output {root} was not recognised as a light field when it was read back; try "
            "another --to, or report this"
        )

    before = ViewReader(clip)
    after = ViewReader(made)
    try:
        for number in range(clip.grid.count):
            position, moment = clip.grid.place(number)
            view = clip.grid.views[position]
            there = made.grid.at(view.row, view.col)
            if there is None:
                raise VerificationError(
                    f"the output {root} lacks view ({view.row}, {view.col}) of the input; try "
                    "another --to, or report this"
                )

            copy = after.get(made.grid.number(there, moment))
            if not np.array_equal(before.get(number), copy):
                raise VerificationError(
                    f"view ({view.row}, {view.col}) at moment {moment} of the output {root} "
                    "differs from the input; try another --to, or report this"
                )
            count(number + 1)
    finally:
        before.close()
        after.close()
