"""Names at URLs that are not ASCII: copies of recordings, and digests of plans."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline.remote.cache import fetch_recordings
from pipeline.schema.plan import Plan
from tests.support.recordings import plan_pair

NAMES = ("lr.mkv", "Bäume 木.mkv")


def plan_at(url: str, path: Path, plan: Plan) -> Plan:
    """Return the plan with its input at a URL, copied to `path` on this machine."""
    moved = plan.input.with_path(str(path)).model_copy(update={"url": url})
    return plan.model_copy(update={"input": moved})


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_does_not_depend_on_the_copy(
    pair: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    plan = plan_pair(pair, tmp_path / "out.mkv")
    url = f"https://example.org/ä/{name}"
    one, other = (plan_at(url, Path(root) / name, plan) for root in ("/cache/1", "/cache/2"))
    assert one.digest() == other.digest()

    elsewhere = plan_at("https://example.org/other.mkv", Path("/cache/1") / name, plan)
    assert one.digest() != elsewhere.digest()


@pytest.mark.parametrize("name", NAMES)
def test_recordings_are_fetched_under_their_names(
    pair: tuple[Path, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    url = f"memory://recordings/ä/{name}"
    with fsspec.open(url, "wb") as file:
        file.write(pair[0].read_bytes())
    plan = plan_at(url, Path("/on/another/machine") / name, plan_pair(pair, tmp_path / "out.mkv"))

    fetched = fetch_recordings(plan)
    assert Path(fetched.input.path).name == name
    assert Path(fetched.input.path).read_bytes() == pair[0].read_bytes()
    assert fetched.digest() == plan.digest()
