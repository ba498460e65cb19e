"""The self-test, which compares an engine with PyTorch on this device before its first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import cv2
import numpy as np

from crossnetpp.networks.taps import Taps, make_box_taps
from deploy.export.stored import weights_sha256
from deploy.machine import driver_version, library_versions
from deploy.photograph import load_photograph, move_photograph
from deploy.protocol import Engine, EngineError, EngineInfo, Pixels, Weights
from deploy.registry import JsonObject, Registry, RegistryError

# an engine's precision -> the PSNR in dB that it must reach against PyTorch in float32
LOWEST_PSNR = {"fp32": 50.0, "tf32": 50.0, "fp16": 45.0, "bf16": 45.0, "int8": 45.0}
SCALE = 4
TEST_VERSION = 2  # increase when the batches change, so that stored figures are not used
_PSNR_OF_EQUAL_FRAMES = 99.0  # dB; JSON has no infinity


class SelfTestError(EngineError):
    """Raised if an engine fails its self-test, or failed it earlier."""


class SelfTestBatch(NamedTuple):
    """The arguments for one call of Engine.enhance: two uint8 LR frames, to be enhanced 4x."""

    lr: Pixels
    refs: tuple[Pixels, ...]
    weights: Weights | None = None
    kernel: Taps | None = None


def make_test_batches() -> Iterator[SelfTestBatch]:
    """Yield a batch of noise, one of a moving photograph, and one with two references per frame.

    The photograph's sides are not multiples of 32, so engines must pad it. The last batch also has
    prior weights, and a kernel that is not bicubic.

    Raises EngineError if the photograph cannot be read.
    """
    rng = np.random.default_rng(0)
    yield SelfTestBatch(
        rng.integers(0, 256, (2, 24, 40, 3), dtype=np.uint8),
        (rng.integers(0, 256, (2, 96, 160, 3), dtype=np.uint8),),
    )

    photograph = load_photograph()
    height, width = photograph.shape[:2]

    # rotated, and shifted by fractions of pixels, so that the flow is nonzero almost everywhere
    refs = []
    lrs = []
    for angle, dx, dy in ((0.01, 3.3, -2.6), (-0.02, -9.4, 5.2)):
        refs.append(move_photograph(photograph, angle, dx, dy))
        small = (width // SCALE, height // SCALE)
        lrs.append(cv2.resize(photograph, small, interpolation=cv2.INTER_AREA))
    lr = cast(Pixels, np.stack(lrs))
    ref = cast(Pixels, np.stack(refs))
    yield SelfTestBatch(lr, (ref,))
    weights = np.array([[1, 0.7], [1, 0.5]], np.float32)
    yield SelfTestBatch(lr, (ref, ref[::-1].copy()), weights, make_box_taps(SCALE))


def compare_engines(engine: Engine, baseline: Engine) -> dict[str, float]:
    """Return `psnr`, the lowest PSNR of all batches in dB, and `largest_difference` in levels.

    Raises SelfTestError if the frames of `engine` differ in shape or dtype from the baseline's.
    """
    psnr = _PSNR_OF_EQUAL_FRAMES
    largest = 0.0
    for lr, refs, weights, kernel in make_test_batches():
        expected = baseline.enhance(lr, *refs, weights=weights, kernel=kernel)
        actual = engine.enhance(lr, *refs, weights=weights, kernel=kernel)
        if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
            raise SelfTestError(
                f"it returns {actual.dtype} frames of shape {actual.shape} instead of "
                f"{expected.dtype} frames of shape {expected.shape}"
            )

        difference = np.abs(expected.astype(np.float64) - actual)
        mean_square = float((difference**2).mean())
        if mean_square:
            psnr = min(psnr, 10 * np.log10(255**2 / mean_square))
        largest = max(largest, float(difference.max()))
    return {"psnr": round(float(psnr), 2), "largest_difference": largest}


def load_baseline_engine(model: str, *, threads: int | None = None) -> Engine:
    """Return the engine with which all others are compared: eager PyTorch in float32."""
    from deploy.device import choose_baseline_device
    from deploy.engines.torch_engine import TorchEngine

    return TorchEngine(
        model,
        threads=threads,
        reason="baseline of the self-tests",
        precision="fp32",
        device=choose_baseline_device(),
    )


def is_baseline(info: EngineInfo) -> bool:
    """Return whether an engine is itself the baseline, which needs no self-test."""
    from deploy.device import BASELINE_DEVICES

    is_plain = (info.name, info.precision) == ("torch", "fp32")
    return is_plain and info.device.startswith(BASELINE_DEVICES)


def selftest_key(engine: Engine) -> JsonObject:
    """Return the registry key of an engine's self-test.

    A new driver or library version changes the key, so that the test is repeated.
    """
    info = engine.info
    return {
        "kind": "selftest",
        "test": TEST_VERSION,
        "engine": info.name,
        "weights": weights_sha256(info.model),
        "precision": info.precision,
        "device": info.device,
        "driver": driver_version() if info.device.startswith("cuda") else "",
        "versions": library_versions(),
    }


def require_selftest(
    engine: Engine,
    registry: Registry,
    load_baseline: Callable[[], Engine],
    *,
    retest: bool = False,
) -> JsonObject:
    """Return the figures of the engine's self-test, running the test unless they are stored.

    An engine that fails is quarantined. Raises SelfTestError if the engine fails the test now, or
    failed it earlier and `retest` is False, and RegistryError if the registry cannot be used.
    """
    key = selftest_key(engine)
    if not retest and (reason := registry.quarantine_reason(key)):
        raise SelfTestError(f"{reason} (found earlier; `pipeline engines verify` repeats the test)")

    def test() -> tuple[bytes, JsonObject]:
        figures = compare_engines(engine, load_baseline())
        lowest = LOWEST_PSNR[engine.info.precision]
        if figures["psnr"] < lowest:
            raise SelfTestError(
                f"its results differ from PyTorch's by up to {figures['largest_difference']:.0f} "
                f"levels (PSNR {figures['psnr']:.1f} dB, expected at least {lowest:g} dB)"
            )
        return b"", figures

    try:
        return registry.get_or_make(key, "selftest", test, force=retest).facts
    except SelfTestError as error:
        registry.quarantine(key, str(error))
        raise
    except RegistryError:
        raise
    except EngineError as error:
        registry.quarantine(key, str(error))
        raise SelfTestError(str(error)) from error
