"""CUDA graphs: when they are captured and dropped, and that they change no bit (on a GPU)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks.kernels import constant_like
from deploy.choice import make_sample_frames
from deploy.engines.cuda_graph import MOST_GRAPHS, CudaGraphCache
from deploy.engines.torch_engine import TorchEngine

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class _CountingCache(CudaGraphCache):
    """A cache without a GPU that counts captures and runs the work directly."""

    def __init__(self, too_large: int = 10**9, message: str = "CUDA out of memory") -> None:
        super().__init__()
        self.captured: list[int] = []
        self.too_large = too_large
        self.message = message

    def _capture(self, work, inputs):  # type: ignore[no-untyped-def]
        self.captured.append(inputs[0].numel())
        if inputs[0].numel() >= self.too_large:
            raise RuntimeError(self.message)
        return lambda given: work(*given)

    def _release_graphs(self) -> None:
        self._graphs.clear()


def _double(values: Tensor) -> Tensor:
    return 2 * values


def _run(cache: CudaGraphCache, size: int) -> float:
    return cache.run(size, _double, [torch.ones(size)]).sum().item()


def test_a_size_is_captured_once_and_the_least_recently_used_one_is_dropped() -> None:
    cache = _CountingCache()
    sizes = list(range(1, MOST_GRAPHS + 1))
    assert [_run(cache, size) for size in [*sizes, *sizes]] == [2 * s for s in [*sizes] * 2]
    assert cache.captured == sizes
    _run(cache, 1)
    _run(cache, 50)
    _run(cache, 1)
    assert cache.captured == [*sizes, 50]
    _run(cache, 2)
    assert cache.captured == [*sizes, 50, 2]


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("CUDA out of memory", []),
        ("not permitted when capturing\nmore", ["cannot capture a CUDA graph: not permitted when"]),
    ],
)
def test_work_that_cannot_be_captured_runs_directly_from_then_on(
    message: str, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    cache = _CountingCache(too_large=7, message=message)
    assert _run(cache, 3) == 6
    assert [_run(cache, 7), _run(cache, 7)] == [14, 14]
    assert cache.captured == [3, 7]
    assert [
        line[: len(wanted)] for line, wanted in zip(caplog.messages, logged, strict=True)
    ] == logged


def test_an_error_of_the_work_itself_is_not_swallowed() -> None:
    def broken(values: Tensor) -> Tensor:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        _CountingCache(too_large=0).run("any", broken, [torch.ones(1)])


def test_on_a_cpu_nothing_is_captured_and_constants_are_not_copied() -> None:
    assert torch.cuda.is_available() or TorchEngine("fast").cuda_graphs is None
    kernel = np.arange(3, dtype=np.float32)
    assert constant_like(kernel, torch.ones(1)).tolist() == [0, 1, 2]
    assert constant_like(kernel, torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@needs_gpu
@pytest.mark.parametrize("size", [(64, 96, 1), (320, 512, 3), (72, 88, 2)])
def test_a_replay_changes_no_bit(size: tuple[int, int, int]) -> None:
    engine = TorchEngine("fast")
    lr, ref = make_sample_frames(*size)
    replayed = [engine.enhance(lr, ref) for _ in range(3)]
    engine.cuda_graphs = None
    plain = engine.enhance(lr, ref)
    assert all(np.array_equal(one, plain) for one in replayed)
