"""Read the frames of a clip as RGB: a range of them in order, or single ones for references."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from av.video.frame import VideoFrame

from pipeline.errors import StageError
from pipeline.media.alpha import Plane, extract_alpha
from pipeline.media.colour import ToRgb
from pipeline.media.pictures import stills
from pipeline.media.pictures.transparent import load_alpha
from pipeline.media.planes import PlaneFormat, PlaneScaler
from pipeline.media.read.decoder import Decoder
from pipeline.media.sandbox import parent
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, Stills, VideoClip

_RETRIES = 2  # how many key frames earlier decoding may start if the first frame is missing

_Timed = tuple[int, VideoFrame]


@dataclass(frozen=True)
class Frame:
    """A decoded frame: its pts in ticks, and its pixels as uint8 or uint16 H x W x 3 RGB."""

    pts: int
    rgb: Pixels
    """If planes were requested, the enlarged planes (of `PlaneFormat.shape`) instead."""
    concealed: bool = False
    """Whether the pixels come from another frame, because this one cannot be decoded."""
    alpha: Plane | None = None
    """Straight alpha (H x W, with the same dtype, at full scale); None if the clip has none."""


def read_frames(
    clip: Clip,
    start_pts: int | None = None,
    end_pts: int | None = None,
    *,
    on_error: Literal["stop", "conceal"] = "stop",
    threads: int = 0,
    expected: Sequence[int] | None = None,
    planes: PlaneFormat | None = None,
) -> Iterator[Frame]:
    """Yield the frames with start_pts <= pts < end_pts in presentation order.

    `expected` lists the pts of the frames that must be decoded. If one is missing, StageError is
    raised or, with `on_error="conceal"`, the last good frame (or else the next one) takes its
    place. Without `expected`, StageError is raised after any decoding error, unless errors are
    concealed. `threads` is the decoder's number of threads, or 0 to let the decoder choose it. With
    `planes`, the frames of a 4:2:0 video are not converted to RGB: their planes are enlarged to the
    size and format that `planes` states.
    """
    if clip.sandbox:
        arguments = {
            "start_pts": start_pts,
            "end_pts": end_pts,
            "on_error": on_error,
            "threads": threads,
            "expected": None if expected is None else [int(pts) for pts in expected],
            "planes": planes,
        }
        for values in parent.read_frames_in_child(clip, arguments):
            yield Frame(*values)
        return
    if isinstance(clip, Stills):
        for pts in range(start_pts or 0, len(clip.files) if end_pts is None else end_pts):
            rgb = _still(clip, pts)
            alpha = load_alpha(clip.files[pts], rgb) if clip.alpha else None
            yield Frame(pts, rgb, alpha=alpha)
        return
    convert = ToRgb(clip.colour) if planes is None else PlaneScaler(clip.colour, planes)
    wanted = _Range(clip, start_pts, end_pts, on_error == "conceal", expected, convert)
    with closing(Decoder(clip, threads=threads)) as decoder:
        yield from wanted.frames(decoder)


def _still(clip: Stills, pts: int) -> Pixels:
    rgb = stills.load_picture(clip.files[pts])
    if rgb.shape[:2] != (clip.height, clip.width):
        raise StageError(
            f"{clip.files[pts]} is {rgb.shape[1]}x{rgb.shape[0]}, expected "
            f"{clip.width}x{clip.height}; the file has changed: run the same command again"
        )
    return rgb


def _convert(clip: Clip, convert: ToRgb | PlaneScaler, frame: VideoFrame, pts: int) -> Pixels:
    if (frame.width, frame.height) != (clip.width, clip.height):
        raise StageError(
            f"{clip.path}: the frame at pts {pts} is {frame.width}x{frame.height}, expected "
            f"{clip.width}x{clip.height}; split the file where the frame size changes"
        )
    return convert(frame)


class _Range:
    """Reads the frames in a range of pts, and checks that all expected frames are decoded."""

    def __init__(
        self,
        clip: Clip,
        start_pts: int | None,
        end_pts: int | None,
        conceal: bool,
        expected: Sequence[int] | None,
        convert: ToRgb | PlaneScaler,
    ) -> None:
        self._clip, self._start, self._end = clip, start_pts, end_pts
        self._conceal = conceal
        self._has_expected = expected is not None
        self._due = deque(pts for pts in sorted(expected or ()) if self._inside(pts))
        self._convert = convert
        self._last: Frame | None = None

    def _inside(self, pts: int) -> bool:
        after = self._start is None or pts >= self._start
        return after and (self._end is None or pts < self._end)

    def frames(self, decoder: Decoder) -> Iterator[Frame]:
        """Yield the frames; raises StageError at the first missing frame that is not concealed."""
        before, first, rest = self._begin(decoder)
        if before is not None and self._conceal and self._due:
            self._last = self._frame(*before)
        while first is not None and (self._end is None or first[0] < self._end):
            pts, frame = first
            complaint = decoder.error
            shown = self._frame(pts, frame)
            yield from self._missing(pts, shown, complaint)
            if self._due and self._due[0] == pts:
                self._due.popleft()
            self._last = shown
            yield shown
            decoder.error = None
            first = next(rest, None)
            if not self._has_expected and decoder.error is not None and not self._conceal:
                raise self._broken(pts, decoder.error, after=True)
        if self._due:
            yield from self._missing(self._due[-1] + 1, None, decoder.error)

    def _frame(self, pts: int, frame: VideoFrame) -> Frame:
        rgb = _convert(self._clip, self._convert, frame, pts)
        # in a clip with alpha, a frame without alpha counts as opaque
        alpha = extract_alpha(frame, deep=rgb.itemsize == 2) if self._clip.alpha else None
        return Frame(pts, rgb, alpha=alpha)

    def _begin(self, decoder: Decoder) -> tuple[_Timed | None, _Timed | None, Iterator[_Timed]]:
        """Return the last frame before the range, the first one in or after it, and the rest.

        The first two are None if there is no such frame. After the key frame of an open group of
        pictures, frames that refer to the previous group are damaged or missing. In that case,
        decoding starts again from an earlier key frame.
        """
        for back in range(_RETRIES + 1):
            rest = decoder.frames(self._start, back=back)
            before, first = None, None
            for timed in rest:
                if self._start is None or timed[0] >= self._start:
                    first = timed
                    break
                before = timed
            if not self._due or (first is not None and first[0] <= self._due[0]):
                break
            if self._start is None:
                break
        return before, first, rest

    def _missing(
        self, until: int, following: Frame | None, complaint: str | None
    ) -> Iterator[Frame]:
        while self._due and self._due[0] < until:
            pts = self._due.popleft()
            stand_in = self._last or following
            if not self._conceal or stand_in is None:
                raise self._broken(pts, complaint)
            yield replace(stand_in, pts=pts, concealed=True)

    def _broken(self, pts: int, complaint: str | None, *, after: bool = False) -> StageError:
        where = f"{'after' if after else 'at'} pts {pts} ({self._clip.seconds(pts):.3f} s)"
        return StageError(
            f"{self._clip.path}: the frame {where} cannot be decoded "
            f"({complaint or 'the decoder skips it'}); expected an intact file; "
            "copy it again or try --on-error conceal"
        )


class FrameReader:
    """Reads single frames by pts, fastest in ascending order, and caches the last few.

    With `apart`, it seeks to every frame. This is for frames that are far apart, and avoids opening
    the file a second time to find key frames.
    """

    def __init__(
        self, clip: Clip, cache: int = 4, threads: int = 0, *, apart: bool = False
    ) -> None:
        self._clip = clip
        self._size = cache
        self._threads = threads
        self._apart = apart
        self._cache: OrderedDict[int, Pixels] = OrderedDict()
        self._convert = ToRgb(clip.colour)
        self._decoder: Decoder | None = None
        self._finder: Decoder | None = None
        self._child: parent.ChildReader | None = None
        self._frames: Iterator[_Timed] = iter(())
        self._position: int | None = None
        """The pts of the last decoded frame; None before the first."""

    def close(self) -> None:
        """Close the file and empty the cache."""
        for decoder in (self._decoder, self._finder):
            if decoder is not None:
                decoder.close()
        if self._child is not None:
            self._child.close()
        self._decoder = self._finder = self._child = self._position = None
        self._frames = iter(())
        self._cache.clear()

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB; do not modify it.

        Raises StageError if there is no such frame, or if it cannot be decoded.
        """
        if pts in self._cache:
            self._cache.move_to_end(pts)
            return self._cache[pts]
        rgb = self._read(pts)
        self._cache[pts] = rgb
        while len(self._cache) > self._size:
            self._cache.popitem(last=False)
        return rgb

    def _read(self, pts: int) -> Pixels:
        if self._clip.sandbox:
            if self._child is None:
                self._child = parent.ChildReader(self._clip)
            return self._child.get(pts)
        return (
            _still(self._clip, pts)
            if isinstance(self._clip, Stills)
            else self._decode(self._clip, pts)
        )

    def _decode(self, clip: VideoClip, pts: int) -> Pixels:
        if self._ahead(clip, pts):
            found = self._advance(pts)
            if found is not None:
                return found
        if self._decoder is None:
            self._decoder = Decoder(clip, threads=self._threads)
        for back in range(_RETRIES + 1):
            self._frames = self._decoder.frames(pts, back=back)
            self._position = None
            found = self._advance(pts)
            if found is not None:
                return found
        raise StageError(
            f"{self._clip.path}: no frame at pts {pts} ({self._clip.seconds(pts):.3f} s) can be "
            "decoded; expected an intact file; copy it again or choose another reference"
        )

    def _ahead(self, clip: VideoClip, pts: int) -> bool:
        """Return whether to decode onwards to `pts`, because there is no key frame in between."""
        if self._apart or self._position is None or pts <= self._position:
            return False
        if self._finder is None:
            self._finder = Decoder(clip, threads=1)
        key = self._finder.key_before(pts)
        return key is None or key <= self._position

    def _advance(self, pts: int) -> Pixels | None:
        for position, frame in self._frames:
            self._position = position
            if position == pts:
                return _convert(self._clip, self._convert, frame, pts)
            if position > pts:
                break
        return None
