"""Clips of VapourSynth: `enhance` enlarges them with the detail of reference frames."""

from __future__ import annotations

from pipeline.arrays.vapoursynth.clip import enhance

__all__ = ["enhance"]
