"""Requests of other sites are refused, and those without a token where one is needed."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.ui.guard import Guard, RequestFacts, is_loopback, make_token
from tests.support.page import Page, serve_page

TOKEN = "a-token-for-tests"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve_page(tmp_path_factory.mktemp("open") / "page") as served:
        yield served


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve_page(tmp_path_factory.mktemp("locked") / "page", token=TOKEN) as served:
        yield served


def fetch_headers(page: Page, path: str) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an answer; a redirection is not followed."""
    with closing(http.client.HTTPConnection(page.address.split("/")[2], timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, dict(answer.getheaders())


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8765", "LOCALHOST."])
def test_names_of_this_machine_are_answered_at_any_port(page: Page, host: str) -> None:
    # a tunnel of ssh may listen at another port
    assert page.request("GET", "/api/state", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", ""]
)
def test_names_that_lead_here_from_elsewhere_are_refused(page: Page, host: str) -> None:
    status, body = page.request("GET", "/", Host=host)
    assert status == 403
    assert b"own address" in body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_requests_of_other_sites_are_refused(page: Page, origin: str) -> None:
    status, body = page.request("POST", "/api/jobs", b"{}", Origin=origin)
    assert status == 403
    assert b"another site" in body
    assert page.call("GET", "/api/state")["jobs"] == []


def test_requests_of_the_page_are_answered(page: Page) -> None:
    own = page.address.rstrip("/")
    status, _ = page.request("POST", "/api/jobs", b"{}", Origin=own, Sec_Fetch_Site="same-origin")
    assert status == 200
    job = page.call("GET", "/api/state")["jobs"][0]["id"]
    page.call("DELETE", f"/api/jobs/{job}")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_to_the_page_and_load_nothing(page: Page, site: str) -> None:
    visit = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate"}
    assert page.request("GET", "/", **visit)[0] == 200
    assert page.request("GET", "/api/state", **visit)[0] == 403
    assert page.request("GET", "/page/icon.svg", Sec_Fetch_Site=site)[0] == 403


def test_without_its_token_a_page_answers_nobody(locked: Page) -> None:
    for path in ("/", "/api/state", "/page/page.js", "/?token=wrong", "/?token="):
        status, body = locked.request("GET", path)
        assert status == 403, path
        assert b"token" in body
    assert locked.request("GET", "/", Cookie="pipeline_page=wrong")[0] == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(locked: Page) -> None:
    status, headers = fetch_headers(locked, f"/?token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    port = urlsplit(locked.address).port
    assert cookie.startswith(f"pipeline_page_{port}=")  # browsers share cookies between ports
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie

    assert locked.request("GET", "/", Cookie=cookie.split(";")[0])[0] == 200
    foreign = {"Cookie": cookie.split(";")[0], "Origin": "http://evil.example"}
    assert locked.request("POST", "/api/jobs", b"{}", **foreign)[0] == 403


def test_every_answer_forbids_other_sources(page: Page) -> None:
    for path in ("/", "/page/page.js", "/api/state", "/nothing"):
        status, headers = fetch_headers(page, path)
        assert status == (404 if path == "/nothing" else 200)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'"), path
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_an_empty_token_fits_nothing() -> None:
    assert not Guard().fits("")
    assert not Guard(token="x").fits("")
    assert (
        Guard(token="x").explain_refusal(RequestFacts("GET", "/", {"Host": "localhost"}))
        is not None
    )


def test_tokens_differ() -> None:
    assert len({make_token() for _ in range(100)}) == 100
    assert min(len(make_token()) for _ in range(100)) >= 32


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("", False), ("2130706433", False)],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_origin_that_is_not_valid_is_another_site(page: Page) -> None:
    assert page.request("GET", "/api/state", Origin="http://[evil")[0] == 403


@pytest.mark.parametrize(
    ("path", "data"),
    [("path/input", b'{"path": "~nobody-of-this-name/x"}'), ("options", b'{"output": "\\ud800"}')],
)
def test_values_that_make_no_sense_are_no_faults_of_the_server(
    page: Page, path: str, data: bytes
) -> None:
    job = page.call("POST", "/api/jobs")["id"]
    assert page.request("POST", f"/api/jobs/{job}/{path}", data)[0] == 400


def test_a_packed_file_beside_another_is_not_sent_instead(tmp_path: Path) -> None:
    with serve_page(tmp_path / "page") as served:
        job = served.call("POST", "/api/jobs")["id"]
        report = tmp_path / "page" / "jobs" / job / "report.html"
        report.write_bytes(b"the report")
        report.with_name("report.html.gz").write_bytes(gzip.compress(b"something else"))
        path = f"/api/jobs/{job}/report"
        assert served.request("GET", path, Accept_Encoding="gzip") == (200, b"the report")
