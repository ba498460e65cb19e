"""For VapourSynth scripts: `enhance` enlarges a clip with the detail of reference frames."""

from __future__ import annotations

from pipeline.arrays.vapoursynth.clip import enhance

__all__ = ["enhance"]
