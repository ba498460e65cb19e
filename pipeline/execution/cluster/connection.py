"""Connect to a Ray cluster, or start one on this machine for as long as it is needed."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import secrets
import shutil
import site
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.cache import cache_root
from deploy.child_process import ROOT
from pipeline.errors import InputError, PipelineError, first_line
from pipeline.execution.cluster.death_notice import announce_sudden_death
from pipeline.interrupt import Interrupts

logger = logging.getLogger(__name__)

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the processes of a submitted job

# Small, because little data passes through the object store. Ray's default is 30 % of memory.
_OBJECT_STORE_BYTES = 100 * 2**20

_CONNECT_SECONDS = 10.0  # timeout for reaching an address


@contextmanager
def cluster(
    address: str | None, interrupts: Interrupts, *, workers: int | None = None, log: bool = False
) -> Iterator[None]:
    """Connect to the cluster at `address` or RAY_ADDRESS, or else start one on this machine.

    A cluster that is started here has CPUs for at least `workers` actors. With `log`, the actors'
    output is shown on stderr. If this process is already connected to a cluster, that connection is
    used and stays open. Raises InputError if the cluster at the address cannot be reached, and
    PipelineError if Ray does not start.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # keep CUDA_VISIBLE_DEVICES in actors without a GPU, as future versions of Ray will
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    # Ray reads these variables at import; if they are set later, Ray refuses the connection
    if not address and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # this makes every part of Ray listen only on the loopback interface
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        yield
        return

    if "PIPELINE_CACHE" in os.environ:  # absolute, because workers run in a different directory
        os.environ["PIPELINE_CACHE"] = str(cache_root().absolute())

    # Ray prints the raylets' messages to stdout, which is reserved for the result
    with (
        redirect_stdout(_Log()),
        TemporaryDirectory(prefix="pipeline-") as empty,
        announce_sudden_death(),
    ):
        session: Path | None = None
        failed = False
        try:
            session = _connect(address, workers, _runtime_env(empty), log=log)
            # ray.init replaces our SIGTERM handler with its own
            interrupts.install()
            yield
        except Exception:  # but not an interrupt
            failed = True
            raise
        finally:
            ray.shutdown()
            if session is not None and not failed:
                # Ray keeps the logs of every cluster; delete them unless the run failed
                shutil.rmtree(session, ignore_errors=True)


class _Log(io.TextIOBase):
    """A text stream that logs what is written to it."""

    def write(self, text: str) -> int:
        """Log `text` unless it is blank, and return its length."""
        if text.strip():
            logger.debug("ray: %s", text.strip())
        return len(text)


def _runtime_env(empty: str) -> dict[str, Any]:
    """Return a runtime environment in which workers import nothing from the driver's folder.

    If a job has no working directory, Ray puts the driver's current folder first on the workers'
    import path. The job therefore gets the empty folder `empty`, unless it was submitted with a
    working directory. If the package is not installed, workers on this machine import it from the
    checkout.
    """
    submitted = JOB_VARIABLE in os.environ
    job = json.loads(os.environ.get(JOB_VARIABLE, "{}"))
    if "working_dir" in job.get("runtime_env", {}):
        return {}
    if submitted or ROOT in site.getsitepackages():
        return {"working_dir": empty}
    # Ray replaces ${PYTHONPATH} with the value on the node
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}${{PYTHONPATH}}"}
    return {"working_dir": empty, "env_vars": path}


def _check_answering(address: str) -> None:
    """Raise InputError if no gRPC server answers at HOST:PORT; Ray itself would wait for minutes.

    With TLS, the server need only accept a connection.
    """
    place = re.fullmatch(r"(?:ray://)?(\[?([^/\s]+?)\]?:([0-9]{1,5}))", address)
    if place is None:
        return  # not HOST:PORT but, for example, auto

    import grpc

    try:
        socket.create_connection((place[2], int(place[3])), _CONNECT_SECONDS).close()
        if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
            with grpc.insecure_channel(place[1]) as channel:
                grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
    except (grpc.FutureTimeoutError, OSError, OverflowError, UnicodeError) as error:
        silent = isinstance(error, grpc.FutureTimeoutError)
        reason = "the server there does not answer like Ray" if silent else first_line(error)
        raise InputError(
            f"found no Ray cluster at {address} ({reason}); check the host and port in --address, "
            "or try --runner inline"
        ) from error


def _connect(
    address: str | None, workers: int | None, runtime_env: dict[str, Any], *, log: bool
) -> Path | None:
    """Connect to a cluster or start one; return the session folder if a cluster was started."""
    import ray

    if address:
        _check_answering(address)
    try:
        if address:
            ray.init(
                address=address,
                runtime_env=runtime_env,
                log_to_driver=log,
                logging_level=logging.ERROR,
            )
        else:
            started: Any = ray.init(
                address="local",
                runtime_env=runtime_env,
                num_cpus=max(workers or 1, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=log,
                logging_level=logging.ERROR,
            )
            folder = started.address_info.get("session_dir")
            return None if folder is None else Path(folder)
    except SystemExit:
        # a signal reached Ray's own handler before ours was restored
        raise KeyboardInterrupt from None
    except Exception as error:
        # Ray raises a bare Exception for a node that does not start in time
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
    return None
