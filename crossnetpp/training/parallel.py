"""Data-parallel training in processes started by torchrun or Ray Train, or in a single process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """The rank and the device of this process, and the number of processes in the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, logs and saves weights."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of `value` over all processes."""
        if self.count == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.count


@contextmanager
def join_processes() -> Iterator[ProcessGroup]:
    """Join the process group that torchrun's environment describes (WORLD_SIZE and so on).

    A group that already exists, as under Ray Train, is used and left open.
    """
    owns_group = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_gpu = torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if owns_group:
        dist.init_process_group("nccl" if on_gpu else "gloo")

    try:
        if dist.is_initialized():
            yield ProcessGroup(dist.get_rank(), dist.get_world_size(), device)
        else:
            yield ProcessGroup(0, 1, device)
    finally:
        if owns_group:
            dist.destroy_process_group()
