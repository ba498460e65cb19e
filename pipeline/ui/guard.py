"""Decide which requests the page answers: not those of other sites, nor of others in a network.

A page on the loopback device is open to every site that the browser visits. Such a site can send
requests (so `Origin` and `Sec-Fetch-Site` are checked), and can give its own name the address
127.0.0.1 and then read answers, too (so `Host` is checked). Elsewhere a token is needed as well.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

COOKIE = "pipeline_page"
_READING = ("GET", "HEAD")
_OWN = ("same-origin", "none")


@dataclass(frozen=True)
class RequestFacts:
    """What the guard looks at in a request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Must find names in any case."""
    token: str = ""
    """The token in the request's address."""
    cookie: str = ""
    """The token in the request's cookie."""


class Guard:
    """The checks of all requests to one server."""

    def __init__(self, *, token: str = "", loopback_only: bool = True) -> None:
        """Require `token` unless it is "", and names of this machine in Host if `loopback_only`."""
        self.token = token
        self._loopback_only = loopback_only

    def explain_refusal(self, request: RequestFacts) -> str | None:
        """Return why a request is refused, or None if it is answered."""
        host = request.headers.get("Host", "")
        if self._loopback_only and not is_loopback(_strip_port(host)):
            return "this page answers only to its own address on this computer"

        origin = request.headers.get("Origin")
        if origin is not None and _find_host(origin) != host.lower():
            return "another site sent this request"
        site = request.headers.get("Sec-Fetch-Site", "none")
        is_visit = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"
        if site not in _OWN and not (is_visit and request.method in _READING):
            return "another site sent this request"

        if self.token and not (self.fits(request.token) or self.fits(request.cookie)):
            return "the token is missing; open the address that `pipeline ui` printed"
        return None

    def fits(self, token: str) -> bool:
        """Return whether `token` is the token of this server."""
        return bool(self.token) and secrets.compare_digest(token.encode(), self.token.encode())


def make_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address denotes the loopback device."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _find_host(origin: str) -> str:
    """Return the host and port of an origin, or "" if it is not valid."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
