"""Connect to a Ray cluster, or start a small one on this machine and end it again."""

from __future__ import annotations

import io
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from pipeline.errors import InputError, PipelineError, first_line
from pipeline.interrupt import Interrupts

logger = logging.getLogger(__name__)

_OBJECT_STORE = 100 * 2**20
"""Bytes: only descriptors travel; by default Ray would take 30 % of the memory."""


@contextmanager
def cluster(
    address: str | None, interrupts: Interrupts, *, workers: int | None = None, log: bool = False
) -> Iterator[None]:
    """Be connected to `address` (or RAY_ADDRESS), else to a local cluster of our own.

    With `log`, what the actors say on stderr is said here too. A connection that exists already
    is used and left alone.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # keep CUDA visible as it is in actors without a GPU; also Ray's announced default
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray reads these on its import: set later, they would lock this process out of its own cluster
    if not address and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        yield
        return
    # Ray prints what raylets say on stdout, which is for the result alone
    with redirect_stdout(_Log()):
        try:
            _connect(address, workers, log)
            # ray.init puts its own SIGTERM handler over ours
            interrupts.install()
            yield
        finally:
            ray.shutdown()


class _Log(io.TextIOBase):
    """A stream whose lines become log lines."""

    def write(self, text: str) -> int:
        """Log what is more than white space."""
        if text.strip():
            logger.debug("ray: %s", text.strip())
        return len(text)


def _connect(address: str | None, workers: int | None, log: bool = False) -> None:
    import ray

    try:
        if address:
            ray.init(address=address, log_to_driver=log, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",
                num_cpus=max(workers or 1, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                log_to_driver=log,
                logging_level=logging.ERROR,
            )
    except SystemExit:
        # Ray's own handler, which is there before ours is put back
        raise KeyboardInterrupt from None
    except Exception as error:
        # where a node does not start in time Ray raises a bare Exception
        known = isinstance(error, (ConnectionError, ValueError, RuntimeError))
        if not known and type(error) is not Exception:
            raise
        if address:
            raise InputError(
                f"cannot connect to Ray at {address}: {first_line(error)}; "
                "check the address and RAY_AUTH_TOKEN, or try --runner inline"
            ) from error
        raise PipelineError(
            f"cannot start Ray on this machine: {first_line(error)}; try --runner inline"
        ) from error
