"""Hold an engine against the network in PyTorch, on this device, before anything trusts it.

`selftest.png` is a piece of Kodak's photograph 21, released for unrestricted usage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from deploy.export.stored import weights_sha256
from deploy.machine import driver_version, library_versions
from deploy.protocol import Engine, EngineError, Pixels
from deploy.registry import Facts, Registry, RegistryError

LOWEST_PSNR = {"fp32": 50.0, "tf32": 50.0, "fp16": 45.0}
"""dB between an engine's pixels and PyTorch's in float32."""
SCALE = 4
_PICTURE = Path(__file__).with_name("selftest.png")
_INFINITE = 99.0
"""dB said of equal pictures: JSON has no infinity."""


class SelfTestError(EngineError):
    """Report an engine that does not compute what the network does."""


def make_test_pairs() -> Iterator[tuple[Pixels, Pixels]]:
    """Yield LR frames and references that ask for everything: noise, and motion in a photograph.

    One batch of two each, uint8, x4, of sizes that have to be padded.
    """
    rng = np.random.default_rng(0)
    yield (
        rng.integers(0, 256, (2, 24, 40, 3), dtype=np.uint8),
        rng.integers(0, 256, (2, 96, 160, 3), dtype=np.uint8),
    )
    photograph = cv2.imread(str(_PICTURE))
    if photograph is None:
        raise EngineError(f"cannot read {_PICTURE}; install the package again")
    photograph = np.ascontiguousarray(photograph[..., ::-1])
    height, width = photograph.shape[:2]
    ref, lr = [], []
    # a turn and a shift by fractions of a pixel: flows are not zero anywhere
    for angle, dx, dy in ((0.01, 3.3, -2.6), (-0.02, -9.4, 5.2)):
        motion = np.array([[1, -angle, dx], [angle, 1, dy]], np.float32)
        size = width, height
        turned = cv2.warpAffine(
            photograph, motion, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        ref.append(turned)
        small = width // SCALE, height // SCALE
        lr.append(cv2.resize(photograph, small, interpolation=cv2.INTER_AREA))
    yield cast(Pixels, np.stack(lr)), cast(Pixels, np.stack(ref))


def compare_engines(engine: Engine, judge: Engine) -> dict[str, float]:
    """Return the lowest PSNR (dB) between two engines, and the largest difference in levels.

    Raises SelfTestError for pixels of another shape or type.
    """
    worst, largest = _INFINITE, 0.0
    for lr, ref in make_test_pairs():
        want, got = judge.enhance(lr, ref), engine.enhance(lr, ref)
        if (want.shape, want.dtype) != (got.shape, got.dtype):
            raise SelfTestError(f"made {got.dtype} {got.shape}, expected {want.dtype} {want.shape}")
        miss = np.abs(want.astype(np.float64) - got)
        mean = float((miss**2).mean())
        worst = min(worst, 10 * np.log10(255**2 / mean) if mean else _INFINITE)
        largest = max(largest, float(miss.max()))
    return {"psnr": round(float(worst), 2), "largest_difference": largest}


def load_baseline_engine(model: str, *, threads: int | None = None) -> Engine:
    """Return what every engine is held against: PyTorch, eager, float32."""
    from deploy.engines.torch_engine import TorchEngine

    return TorchEngine(model, threads=threads, reason="the judge", precision="fp32")


def selftest_key(engine: Engine) -> Facts:
    """Return what a self-test holds for: another driver or library means another test."""
    info = engine.info
    return {
        "kind": "selftest",
        "engine": info.name,
        "weights": weights_sha256(info.model),
        "precision": info.precision,
        "device": info.device,
        "driver": driver_version() if info.device.startswith("cuda") else "",
        "versions": library_versions(),
    }


def require_selftest(
    engine: Engine, registry: Registry, make_judge: Callable[[], Engine], *, anew: bool = False
) -> Facts:
    """Return the figures of the engine's self-test, made now if there was none.

    Raises SelfTestError for an engine that fails it or has failed it before; it is quarantined.
    """
    key = selftest_key(engine)
    needed = LOWEST_PSNR[engine.info.precision]
    if not anew and (reason := registry.quarantined(key)):
        raise SelfTestError(f"{reason} (found before; `pipeline engines verify` tests again)")

    def test() -> tuple[bytes, Facts]:
        figures = compare_engines(engine, make_judge())
        if figures["psnr"] < needed:
            raise SelfTestError(
                f"differs from PyTorch (PSNR {figures['psnr']:.1f} dB, expected {needed:g}; "
                f"by up to {figures['largest_difference']:.0f} levels)"
            )
        return b"", figures

    try:
        return registry.get_or_make(key, "selftest", test, anew=anew).facts
    except SelfTestError as error:
        registry.quarantine(key, str(error))
        raise
    except RegistryError:
        raise
    except EngineError as error:
        registry.quarantine(key, str(error))
        raise SelfTestError(str(error)) from error
