"""Serve the page with aiohttp, which no other module of `pipeline.ui` imports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deploy.distribution import describe_install
from pipeline.errors import InputError, PipelineError
from pipeline.ui.guard import COOKIE, Guard, RequestFacts, is_loopback
from pipeline.ui.handlers import Handlers
from pipeline.ui.messages import Answer, Call, Handler, answer_error
from pipeline.ui.store import JobStore
from pipeline.ui.work import Work

if TYPE_CHECKING:
    from aiohttp import web

_JSON_BYTES = 1_000_000  # maximum size of a request that is not an upload
_PIECE_BYTES = 1 << 20  # how much of a file is sent at a time
_SHUTDOWN_SECONDS = 2.0  # for finishing answers that are being sent


def check_library() -> None:
    """Raise InputError if aiohttp is not installed."""
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"`pipeline ui` needs aiohttp, which is not installed; try {describe_install('ui')}"
        ) from error


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; raises InputError if that is not possible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(64)
            stack.pop_all()
            return listening
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen on {host}:{port} ({reason}); try another --port, or set --host to an "
            "address of this computer"
        ) from error


def format_address(host: str, port: int, token: str) -> str:
    """Return the URL of the page, including the token if there is one."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    if ":" in shown:
        shown = f"[{shown}]"
    return f"http://{shown}:{port}/" + (f"?token={quote(token)}" if token else "")


def serve(
    folder: Path,
    host: str,
    port: int,
    *,
    token: str = "",
    on_ready: Callable[[str], None],
) -> None:
    """Serve the page until the process is interrupted; `on_ready` receives the page's address.

    The interrupt also stops a run in progress, which can be resumed later. Raises InputError if the
    port or the folder cannot be used, or if aiohttp is missing.
    """
    check_library()
    listening = open_socket(host, port)
    try:
        store = JobStore(folder)
        work = Work(store)
        try:
            guard = Guard(token=token, loopback_only=is_loopback(host))
            address = format_address(host, listening.getsockname()[1], token)
            app = make_app(Handlers(store, work), guard)
            asyncio.run(_serve(app, listening, lambda: on_ready(address)))
        finally:
            work.close()
            store.close()
    finally:
        listening.close()


async def _serve(
    app: web.Application, listening: socket.socket, on_ready: Callable[[], None]
) -> None:
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        on_ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def make_app(handlers: Handlers, guard: Guard) -> web.Application:
    """Return the web application, which answers requests that pass `guard` with `handlers`."""
    from aiohttp import web

    @web.middleware
    async def check(request: web.Request, handler: Any) -> web.StreamResponse:
        objection = guard.explain_refusal(
            RequestFacts(
                request.method,
                request.path,
                request.headers,
                request.query.get("token", ""),
                request.cookies.get(_name_cookie(request), ""),
            )
        )
        if objection is not None:
            if request.path == "/":  # a person reads this answer
                text = f"{objection[0].upper()}{objection[1:]}.\n".encode()
                answer = Answer(text, "text/plain; charset=utf-8", status=403)
                return await _send(request, answer)
            return await _send(request, answer_error(objection, 403))
        if guard.fits(request.query.get("token", "")) and request.path == "/":
            # from now on, a cookie contains the token, which keeps it out of histories and logs
            response = web.Response(status=303, headers={"Location": "/"})
            response.set_cookie(
                _name_cookie(request), guard.token, httponly=True, samesite="Strict", path="/"
            )
            return response
        try:
            response = await handler(request)
        except web.HTTPException as error:  # such as 404 for an unknown path
            return await _send(request, answer_error(error.reason, error.status))
        assert isinstance(response, web.StreamResponse)
        return response

    app = web.Application(middlewares=[check], client_max_size=_JSON_BYTES)
    for method, path, handler in handlers.list_routes():
        app.router.add_route(method, path, _adapt(handler))
    return app


def _name_cookie(request: web.Request) -> str:
    """Return a cookie name that contains the port, because all ports of a host share cookies."""
    assert request.transport is not None
    return f"{COOKIE}_{request.transport.get_extra_info('sockname')[1]}"


def _adapt(handler: Handler) -> Any:
    """Return an aiohttp handler that calls `handler` and sends its answer or error."""

    async def handle(request: web.Request) -> web.StreamResponse:
        async def read_pieces() -> AsyncIterator[bytes]:
            async for piece in request.content.iter_chunked(1 << 20):
                yield piece

        call = Call(
            place=request.match_info,
            query=request.query,
            read_json=request.json,
            read_pieces=read_pieces,
            size=request.content_length,
        )
        try:
            answer = await handler(call)
        except PipelineError as error:
            answer = answer_error(str(error))
        except (ValueError, RuntimeError):
            # caused by a lone surrogate, or by the home folder of an unknown user, for example
            answer = answer_error("the request is invalid; reload the page")
        except OSError as error:
            answer = answer_error(f"{error.strerror or error}; check the disk", 500)
        return await _send(request, answer)

    return handle


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    from aiohttp import web

    headers = {
        "Content-Security-Policy": answer.policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Content-Type": answer.kind,
        **answer.headers,
    }
    if answer.save_as:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(answer.save_as)}"
    pieces = answer.pieces
    if answer.file is not None:
        # aiohttp's FileResponse would send FILE.gz instead if there is one
        headers["Content-Length"] = str(answer.file.stat().st_size)
        pieces = _read_file(answer.file)
    if pieces is None:
        return web.Response(body=answer.body, status=answer.status, headers=headers)

    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    while (piece := await asyncio.to_thread(_take_next, pieces)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response


def _read_file(path: Path) -> Iterator[bytes]:
    """Yield the content of a file piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _take_next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
