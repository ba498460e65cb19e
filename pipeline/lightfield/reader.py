"""Read views as frames, by number or in order, with only a few of them in memory at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import StageError
from pipeline.lightfield import hdf5
from pipeline.lightfield.packing import extract_view
from pipeline.media.pictures import stills
from pipeline.media.read import frames as media
from pipeline.media.read.probe import scan
from pipeline.media.sandbox import parent
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, FrameIndex, Grid, LightField, View

# Maximum number of decoders that stay open; two, because references alternate between videos.
OPEN_VIDEOS = 2


def index_views(clip: LightField) -> FrameIndex:
    """Return the index of a light field's frames, whose times are their numbers.

    Decoding can start at every frame or, if each view is a video, at the first frame of each view.
    """
    count = clip.grid.count
    keys = list(range(count))
    if clip.grid.layout == "video":
        keys = [clip.grid.number(view, 0) for view in range(len(clip.grid.views))]
    return FrameIndex(pts=list(range(count)), keys=keys, end_pts=count)


def iterate_frames(grid: Grid, *, by_view: bool) -> Iterator[tuple[int, int]]:
    """Yield the (view position, moment) of each frame, view by view or moment by moment."""
    if by_view:
        for position, view in enumerate(grid.views):
            yield from ((position, moment) for moment in range(view.frames))
        return
    for moment in range(grid.moments):
        yield from ((position, moment) for position in range(len(grid.views)))


class ViewTimes:
    """Finds the times of views from their videos or, for pictures, from the frame rate."""

    def __init__(self, clip: LightField) -> None:
        self._grid = clip.grid
        self._rate = clip.frame_rate or 25
        self._pts: dict[int, Sequence[int]] = {}

    def pts(self, view: int, moment: int) -> int:
        """Return the pts of a view's frame at `moment`, in ticks of the view's own video.

        Return `moment` itself if the view has no video of its own.
        """
        clip = self._grid.views[view].clip
        if clip is None:
            return moment
        if view not in self._pts:
            self._pts[view] = scan(clip).pts
        return self._pts[view][moment]

    def seconds(self, number: int) -> float:
        """Return the time of frame `number` in seconds, on the clock of its video if it has one."""
        view, moment = self._grid.place(number)
        clip = self._grid.views[view].clip
        if clip is not None:
            return float(self.pts(view, moment) * clip.time_base)
        if self._grid.has_video_sheets:
            return float(self.sheet_pts(moment) * self._grid.sheet_clip.time_base)
        return float(moment / self._rate)

    def sheet_pts(self, moment: int) -> int:
        """Return the pts of the sheet that contains the views at `moment`."""
        if -1 not in self._pts:
            self._pts[-1] = scan(self._grid.sheet_clip).pts
        return self._pts[-1][moment]


class ViewReader:
    """Reads single views by number, and caches the last `cache` views and the last sheet."""

    def __init__(self, clip: LightField, cache: int = 1, threads: int = 0) -> None:
        self._clip = clip
        self._grid = clip.grid
        self._threads = threads
        self._size = max(1, cache)
        self._cache: OrderedDict[int, Pixels] = OrderedDict()
        self._times = ViewTimes(clip)
        self._readers: OrderedDict[int, media.FrameReader] = OrderedDict()
        self._file: Any = None
        self._child: parent.ChildReader | None = None

    def get(self, pts: int) -> Pixels:
        """Return the view with number `pts` as uint8 or uint16 H x W x 3 RGB; do not modify it.

        Raises StageError if the view cannot be read, or if it no longer has the size of the clip.
        """
        if pts in self._cache:
            self._cache.move_to_end(pts)
            return self._cache[pts]

        while len(self._cache) >= self._size:
            self._cache.popitem(last=False)
        rgb = self._read_in_child(pts) if self._clip.sandbox else self._read(*self._grid.place(pts))

        if rgb.shape[:2] != (self._clip.height, self._clip.width):
            raise StageError(
                f"view {pts} of {self._clip.path} is {rgb.shape[1]}x{rgb.shape[0]}, but was "
                f"{self._clip.width}x{self._clip.height} before, so its file has changed; run the "
                "same command again"
            )
        self._cache[pts] = rgb
        return rgb

    def close(self) -> None:
        """Close the files and empty the cache."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._cache.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._child is not None:
            self._child.close()
            self._child = None

    def _read_in_child(self, pts: int) -> Pixels:
        if self._child is None:
            self._child = parent.ChildReader(self._clip)
        return self._child.get(pts)

    def _read(self, position: int, moment: int) -> Pixels:
        grid = self._grid
        view = grid.views[position]
        if grid.layout == "folder":
            return stills.load_picture(view.files[moment])
        if grid.layout == "video":
            return self._video(position, view.video).get(self._times.pts(position, moment))

        place = find_tile(grid, view)
        if grid.layout == "h5":
            if self._file is None:
                self._file = hdf5.open_file(Path(self._clip.path))
            size = (self._clip.height, self._clip.width)
            return hdf5.read_view(self._file, grid.dataset, grid.axes, place, moment, size)

        sheet = self._video(-1, grid.sheet_clip).get(self._times.sheet_pts(moment))
        return extract_view(sheet, grid.layout, grid.tiling, place)

    def _video(self, position: int, clip: Clip) -> media.FrameReader:
        """Return the reader of the video of the view at `position`, or of the sheets if -1."""
        if position not in self._readers:
            while len(self._readers) >= OPEN_VIDEOS:
                self._readers.popitem(last=False)[1].close()
            self._readers[position] = media.FrameReader(clip, cache=1, threads=self._threads)
        self._readers.move_to_end(position)
        return self._readers[position]


def find_tile(grid: Grid, view: View) -> tuple[int, int]:
    """Return the row and column of a view in its sheet or dataset."""
    row = view.row - grid.first[0]
    col = view.col - grid.first[1]
    if grid.order == "col,row":
        row, col = col, row
    if grid.line:
        return divmod(col, grid.tiling[1])
    return row, col


def read_views(
    clip: LightField,
    start_pts: int | None = None,
    end_pts: int | None = None,
    *,
    on_error: Literal["stop", "conceal"] = "stop",
    threads: int = 0,
    expected: Sequence[int] | None = None,
) -> Iterator[media.Frame]:
    """Yield the views with start_pts <= number < end_pts in order.

    Each camera's video is read in one pass. The other arguments are those of `read_frames` in
    `media.read.frames`, except that the values in `expected` are ignored: if it is given, all
    frames in the range must be decoded. If the views are not separate videos, `on_error` and
    `expected` have no effect: any view that cannot be read raises an error.
    """
    grid = clip.grid
    start = start_pts or 0
    end = grid.count if end_pts is None else end_pts

    if grid.layout != "video":
        reader = ViewReader(clip, threads=threads)
        try:
            for number in range(start, end):
                yield media.Frame(number, reader.get(number))
        finally:
            reader.close()
        return

    times = ViewTimes(clip)
    while start < end:
        position, moment = grid.place(start)
        view = grid.views[position]
        last = min(view.frames, moment + end - start)
        wanted = [times.pts(position, m) for m in range(moment, last)]
        frames = media.read_frames(
            view.video,
            wanted[0],
            wanted[-1] + 1,
            on_error=on_error,
            threads=threads,
            expected=wanted if expected is not None else None,
        )
        for offset, frame in enumerate(frames):
            yield media.Frame(start + offset, frame.rgb, frame.concealed)
        start += last - moment
