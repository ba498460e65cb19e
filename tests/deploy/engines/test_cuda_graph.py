"""What is recorded, what is forgotten, and that playing changes no bit (on a GPU)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossnetpp.networks.kernels import constant
from deploy.choice import make_sample_frames
from deploy.engines.cuda_graph import MOST_GRAPHS, CudaGraphCache
from deploy.engines.torch_engine import TorchEngine

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class _Counted(CudaGraphCache):
    """Recordings without a GPU: what would be recorded is counted and done as it is."""

    def __init__(self, too_large: int = 10**9, says: str = "CUDA out of memory") -> None:
        super().__init__()
        self.made: list[int] = []
        self.too_large = too_large
        self.says = says

    def _capture(self, work, inputs):  # type: ignore[no-untyped-def]
        self.made.append(inputs[0].numel())
        if inputs[0].numel() >= self.too_large:
            raise RuntimeError(self.says)
        return lambda given: work(*given)

    def _release_graphs(self) -> None:
        self._graphs.clear()


def _double(values: Tensor) -> Tensor:
    return 2 * values


def _play(recordings: CudaGraphCache, size: int) -> float:
    return recordings.run(size, _double, [torch.ones(size)]).sum().item()


def test_a_size_is_recorded_once_and_the_one_used_longest_ago_is_forgotten() -> None:
    recordings = _Counted()
    sizes = list(range(1, MOST_GRAPHS + 1))
    assert [_play(recordings, size) for size in [*sizes, *sizes]] == [2 * s for s in [*sizes] * 2]
    assert recordings.made == sizes
    _play(recordings, 1)
    _play(recordings, 50)
    _play(recordings, 1)
    assert recordings.made == [*sizes, 50]
    _play(recordings, 2)
    assert recordings.made == [*sizes, 50, 2]


@pytest.mark.parametrize(
    ("says", "logged"),
    [
        ("CUDA out of memory", []),
        ("not permitted when capturing\nmore", ["cannot capture a CUDA graph: not permitted when"]),
    ],
)
def test_what_cannot_be_recorded_is_done_and_not_tried_again(
    says: str, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    recordings = _Counted(too_large=7, says=says)
    assert _play(recordings, 3) == 6
    assert [_play(recordings, 7), _play(recordings, 7)] == [14, 14]
    assert recordings.made == [3, 7]
    assert [
        line[: len(wanted)] for line, wanted in zip(caplog.messages, logged, strict=True)
    ] == logged


def test_an_error_of_the_work_itself_is_not_swallowed() -> None:
    def broken(values: Tensor) -> Tensor:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        _Counted(too_large=0).run("any", broken, [torch.ones(1)])


def test_on_a_cpu_nothing_is_recorded_and_constants_are_not_copied() -> None:
    assert torch.cuda.is_available() or TorchEngine("fast").cuda_graphs is None
    kernel = np.arange(3, dtype=np.float32)
    assert constant(kernel, torch.ones(1)).tolist() == [0, 1, 2]
    assert constant(kernel, torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@needs_gpu
@pytest.mark.parametrize("size", [(64, 96, 1), (320, 512, 3), (72, 88, 2)])
def test_playing_changes_no_bit(size: tuple[int, int, int]) -> None:
    engine = TorchEngine("fast")
    lr, ref = make_sample_frames(*size)
    played = [engine.enhance(lr, ref) for _ in range(3)]
    engine.cuda_graphs = None
    plain = engine.enhance(lr, ref)
    assert all(np.array_equal(one, plain) for one in played)
