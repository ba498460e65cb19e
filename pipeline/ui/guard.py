"""Decide which requests are answered: none from other sites, none without a required token.

Every site that the browser visits can reach a page on the loopback interface. The site can send
requests to the page, so `Origin` and `Sec-Fetch-Site` are checked. It can also let its own name
resolve to 127.0.0.1 and then read the answers, so `Host` is checked. On other interfaces, which
others on the network can reach, requests need a token as well.
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
    """The parts of a request that the guard checks."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Headers by name; the lookup must ignore case."""
    token: str = ""
    """The token in the request's address."""
    cookie: str = ""
    """The token in the request's cookie."""


class Guard:
    """The checks that every request to a server must pass."""

    def __init__(self, *, token: str = "", loopback_only: bool = True) -> None:
        """Require `token` unless it is "", and a loopback name in `Host` if `loopback_only`."""
        self.token = token
        self._loopback_only = loopback_only

    def explain_refusal(self, request: RequestFacts) -> str | None:
        """Return why a request must be refused, or None if it may be answered."""
        host = request.headers.get("Host", "")
        if self._loopback_only and not is_loopback(_strip_port(host)):
            return "this page can be opened only at its own address on this computer"

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
        """Return whether this server has a token and `token` equals it."""
        return bool(self.token) and secrets.compare_digest(token.encode(), self.token.encode())


def make_token() -> str:
    """Return a random token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address denotes the loopback interface."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _find_host(origin: str) -> str:
    """Return the host and port of an origin, or "" if the origin is not valid."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _strip_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
