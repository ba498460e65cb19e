"""What the errors of this machine's libraries mean."""

from __future__ import annotations

import pytest

from crossnetpp.machine import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not execute a primitive"),
        RuntimeError("Failed to allocate memory for requested buffer of size 132464640"),
    ],
)
def test_errors_of_all_libraries_that_want_memory_are_known(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_other_errors_are_not_taken_for_a_want_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("found key frames of 64x48"))
