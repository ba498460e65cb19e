"""Runs on files at URLs: S3 over a real server with faults, memory://, HTTP, and the cache."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import InputError, PipelineError
from pipeline.paths import redact_text, redact_url, sha256
from pipeline.remote import cache, transfer
from pipeline.remote.in_use import release_mark
from tests.support import ROOT
from tests.support.commands import invoke
from tests.support.s3_server import Store, serve_bucket

PAIR_FRAMES = 60
SECRET = "AKIATHISISSECRET"
CHOSEN = ["--engine", "bicubic", "--runner", "inline", "--segment", "0.4", "--preset", "ultrafast"]
run_command = partial(invoke, "run", *CHOSEN)


@pytest.fixture(scope="module")
def expected(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("local") / "out.mkv"
    assert run_command(pair[0], "--ref-stream", pair[1], "-o", output).exit_code == 0
    return output.read_bytes()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with serve_bucket() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRET)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(transfer, "PAUSE", 0.01)
        monkeypatch.setattr(transfer, "TIMEOUT", 1.0)
        yield server


@pytest.fixture
def filled(store: Store, pair: tuple[Path, Path]) -> Store:
    store.objects["bucket/in/lr.mkv"] = pair[0].read_bytes()
    store.objects["bucket/in/hr.mkv"] = pair[1].read_bytes()
    return store


ARGUMENTS = ["s3://bucket/in/lr.mkv", "--ref-stream", "s3://bucket/in/hr.mkv"]
ARGUMENTS += ["-o", "s3://bucket/out/big.mkv"]


def outputs(store: Store) -> list[str]:
    """Return the names of all outputs, without pyarrow's marker of the folder."""
    return sorted(n for n in store.objects if n.startswith("bucket/out/") and n[-1] != "/")


def test_everything_at_s3(filled: Store, expected: bytes) -> None:
    done = run_command(*ARGUMENTS, "--json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["output"] == "s3://bucket/out/big.mkv"
    assert answer["reference_map"] == "s3://bucket/out/big.plan.json"
    assert filled.objects["bucket/out/big.mkv"] == expected
    # no run folder, segment or write test is left behind
    assert outputs(filled) == ["bucket/out/big.mkv", "bucket/out/big.plan.json"]
    assert filled.uploads == []
    assert SECRET not in done.output
    assert SECRET not in filled.objects["bucket/out/big.plan.json"].decode()
    again = run_command(*ARGUMENTS, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["resumed_segments"] == answer["segments"]
    other = run_command(*ARGUMENTS, "--crf", "30")
    assert other.exit_code == 2
    assert "already exists" in other.stderr
    assert filled.objects["bucket/out/big.mkv"] == expected


def test_transient_faults_do_not_fail_a_run(filled: Store, expected: bytes) -> None:
    filled.faults.extend([("GET", "short"), ("GET", "500"), ("PUT", "500"), ("GET", "short")])
    filled.faults.extend([("HEAD", "500"), ("PUT", "500"), ("GET", "hang"), ("PUT", "500")])
    done = run_command(*ARGUMENTS, "--json")
    assert done.exit_code == 0, done.stderr
    assert filled.objects["bucket/out/big.mkv"] == expected
    assert len(filled.faults) < 4


def test_a_server_that_never_answers_is_one_line(filled: Store) -> None:
    filled.faults.extend([("GET", "500")] * 99)
    found = transfer.RemoteFile("s3://bucket/in/lr.mkv", 5, "")
    with pytest.raises(PipelineError, match=r"cannot read s3://bucket/in/lr.mkv after 5 attempts"):
        transfer.download_file(found, cache.cache_folder() / "copy")
    assert list(cache.cache_folder().iterdir()) == []


def test_a_read_only_bucket_is_one_clear_line(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = filled.create_reader()
    for name, value in reader.items():
        monkeypatch.setenv(name, value)
    transfer._filesystem.cache_clear()
    # from now on the server looks at keys and policies
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    done = run_command(*ARGUMENTS, "-q")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no permission to write s3://bucket/out/")
    assert "check the credentials" in line
    assert not [value for value in reader.values() if value in line]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (0, "there is no file or folder at s3://bucket/in/none.mkv"),
        (4, "there is nothing at s3://nowhere/out/"),
    ],
    ids=["input", "bucket"],
)
def test_a_missing_input_or_bucket_is_one_line(filled: Store, argument: int, message: str) -> None:
    wrong = list(ARGUMENTS)
    wrong[argument] = {0: "s3://bucket/in/none.mkv", 4: "s3://nowhere/out/big.mkv"}[argument]
    done = run_command(*wrong, "-q")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_killed_run_is_resumed_on_another_machine(
    filled: Store, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "tests.support.slow_command", "0.15", "0"]
    command += ["run", *CHOSEN, *ARGUMENTS]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def committed() -> int:
        return sum(n.endswith(".json") and "/0000" in n for n in list(filled.objects))

    deadline = time.monotonic() + 60
    while committed() < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "bucket/out/big.mkv" not in filled.objects
    # a segment that was tampered with is not trusted, wherever it is stored
    segment = next(n for n in filled.objects if "/00000-" in n)
    filled.objects[segment] = filled.objects[segment][:-1] + b"x"
    before = committed()
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "other machine"))
    done = run_command(*ARGUMENTS, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["resumed_segments"] == before - 1
    assert filled.objects["bucket/out/big.mkv"] == expected
    assert outputs(filled) == ["bucket/out/big.mkv", "bucket/out/big.plan.json"]


def test_a_run_killed_after_its_upload_is_found_complete(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.ledger.ledger import Ledger

    with monkeypatch.context() as patch:
        patch.setattr(
            Ledger, "remove_run_folder", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        patch.setattr(Ledger, "__exit__", lambda ledger, *_: ledger._lock.release())
        with pytest.raises(KeyboardInterrupt):
            raise_interrupted()
    assert "bucket/out/big.mkv" in filled.objects
    done = run_command(*ARGUMENTS, "--json")
    assert done.exit_code == 0, done.stderr
    assert outputs(filled) == ["bucket/out/big.mkv", "bucket/out/big.plan.json"]


def raise_interrupted() -> None:
    from pipeline.errors import Interrupted
    from pipeline.runs.run import run
    from pipeline.schema.settings import RunSettings

    settings = RunSettings(
        input=ARGUMENTS[0],
        ref_stream=ARGUMENTS[2],
        output=ARGUMENTS[4],
        engine="bicubic",
        runner="inline",
        segment=0.4,
        preset="ultrafast",
    )
    try:
        run(settings)
    except Interrupted:
        raise KeyboardInterrupt from None


def test_a_large_file_goes_up_in_parts(store: Store, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1 << 20) * 24)
    transfer.upload_file(large, "s3://bucket/large")
    assert store.objects["bucket/large"] == large.read_bytes()
    assert sum(method == "POST" for method, _ in store.requests) >= 2
    found = transfer.find_file("s3://bucket/large")
    assert found is not None
    transfer.download_file(found, tmp_path / "back")
    assert sha256(tmp_path / "back") == sha256(large)


def test_a_bucket_folder_is_many_inputs(filled: Store, pair: tuple[Path, Path]) -> None:
    filled.objects["bucket/clips/a.mkv"] = filled.objects["bucket/clips/b.mkv"] = pair[
        0
    ].read_bytes()
    done = run_command("s3://bucket/clips/", *ARGUMENTS[1:3], "-o", "s3://bucket/out/", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 2
    names = [name for name in outputs(filled) if name.endswith(".mkv")]
    assert names == ["bucket/out/a.mkv", "bucket/out/b.mkv"]


def test_what_failed_in_a_bucket_is_listed_and_run_again_there(
    filled: Store, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.objects["bucket/clips/a.mkv"] = pair[0].read_bytes()
    filled.objects["bucket/clips/b.mkv"] = b"no video" * 50
    first = run_command("s3://bucket/clips/", *ARGUMENTS[1:3], "-o", "s3://bucket/out/", "--json")
    assert first.exit_code == 1
    listed = "s3://bucket/out/pipeline.failed.jsonl"
    assert json.loads(first.stdout)["failed_list"] == listed
    filled.objects["bucket/clips/b.mkv"] = pair[0].read_bytes()
    again = run_command("--manifest", listed, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["done"] == 1
    assert [n for n in outputs(filled) if not n.endswith(".json")] == [
        "bucket/out/a.mkv",
        "bucket/out/b.mkv",
    ]


def test_the_least_recently_used_copies_leave(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        store.objects[f"bucket/{name}"] = name.encode() * 400_000
    monkeypatch.setenv("PIPELINE_CACHE_GB", "0.001")
    first = cache.fetch_copy("s3://bucket/a")
    second = cache.fetch_copy("s3://bucket/b")
    for copy in (first, second):
        release_mark(copy.parent)  # as if the process that fetched it had ended
    os.utime(second.parent, (1, 1))
    third = cache.fetch_copy("s3://bucket/c")
    assert [path.exists() for path in (first, second, third)] == [True, False, True]
    assert cache.fetch_copy("s3://bucket/a") == first
    cache.fetch_copy("s3://bucket/b")
    assert [path.exists() for path in (first, second, third)] == [True, True, True]  # all in use
    store.objects["bucket/huge"] = b"x" * 1_100_000
    with pytest.raises(InputError, match="PIPELINE_CACHE_GB"):
        cache.fetch_copy("s3://bucket/huge")


def test_a_copy_is_fetched_once_and_again_when_it_changed(store: Store) -> None:
    store.objects["bucket/a"] = b"one"
    assert cache.fetch_copy("s3://bucket/a").read_bytes() == b"one"
    store.requests.clear()
    cache.fetch_copy("s3://bucket/a")
    assert not [r for r in store.requests if r == ("GET", "bucket/a")]
    store.objects["bucket/a"] = b"three"
    assert cache.fetch_copy("s3://bucket/a").read_bytes() == b"three"


def test_memory_and_file_urls(
    pair: tuple[Path, Path], expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    transfer.upload_file(pair[1], "memory://place/hr.mkv")
    given = (f"file://{pair[0]}", "--ref-stream", "memory://place/hr.mkv")
    assert run_command(*given, "-o", "memory://place/out.mkv", "-q").exit_code == 0
    assert transfer.read_bytes("memory://place/out.mkv") == expected
    local = tmp_path / "out.mkv"
    assert run_command(*given, "-o", f"file://{local}", "-q").exit_code == 0
    assert local.read_bytes() == expected


def test_http_is_only_read(filled: Store, expected: bytes, tmp_path: Path) -> None:
    lr = f"{filled.url}/bucket/in/lr.mkv"
    done = run_command(lr, "--ref-stream", ARGUMENTS[2], "-o", tmp_path / "out.mkv", "-q")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.mkv").read_bytes() == expected
    refused = run_command(
        lr, "--ref-stream", ARGUMENTS[2], "-o", f"{filled.url}/bucket/x.mkv", "-q"
    )
    assert refused.exit_code == 2
    assert "HTTP is read-only" in refused.stderr


def test_the_plan_beside_an_output_holds_no_secrets(
    filled: Store, tmp_path: Path, expected: bytes
) -> None:
    signed = f"{filled.url}/bucket/in/lr.mkv?X-Amz-Signature={SECRET}"
    done = run_command(signed, "--ref-stream", ARGUMENTS[2], "-o", tmp_path / "out.mkv")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out.mkv").read_bytes() == expected
    beside = (tmp_path / "out.plan.json").read_text()
    assert f'"url": "{filled.url}/bucket/in/lr.mkv"' in beside
    assert SECRET not in beside + done.output


def test_secrets_in_urls_and_answers_are_not_shown() -> None:
    shown = redact_text("run 'https://a:b@h/x?sig=1' \"s3://b/k\", no url: a/b")
    assert shown == "run 'https://h/x' \"s3://b/k\", no url: a/b"
    assert redact_text("no /a/http:/me:pw@h/b?sig=1 here") == "no /a/http:/h/b here"
    assert redact_text("C:/a@b/c?") == "C:/a@b/c?"
    assert redact_text("see http://h:1/#/jobs/a") == "see http://h:1/#/jobs/a"
    for odd in ("a'b", 'a"b', "a\\b", "a b"):
        assert redact_text(f"no http://me:{odd}@h/c.mp4 here") == "no http://h/c.mp4 here"
    blank = redact_text("no http://h/c d.mp4?sig=1&key=2 here")
    assert blank == "no http://h/c d.mp4?sig=...&key=... here"
    assert redact_text("no http://h/c.mp4#tok=1 here") == "no http://h/c.mp4 here"
    assert redact_text("no http://h/c.mp4;jsessionid=1 here") == "no http://h/c.mp4 here"
    # a semicolon at the end belongs to the sentence
    assert redact_text("no http://h/c.mp4?sig=1; try a/b") == "no http://h/c.mp4; try a/b"
    assert redact_text("no http://h/c.mp4; try a/b") == "no http://h/c.mp4; try a/b"
    assert redact_text("no http://u:pw[x@h/c.mp4 here") == "no http://... here"
    assert redact_url("https://me:pw@host/a?X-Amz-Signature=1") == "https://host/a"
    assert "s3cr3t" not in transfer._redact_reason("bad token=s3cr3t and Key:s3cr3t")


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}[x@h/c.mp4",
        f"http://u:{SECRET}@h:99999999/c.mp4",
        f"http://{SECRET}\\b@h/c.mp4",
        f"http://\N{LATIN SMALL LETTER E WITH ACUTE}:{SECRET}@h/c.mp4",
        f"s3://A:{SECRET}@bucket/c.mp4",
    ],
)
def test_urls_that_are_not_valid_are_refused_in_one_line(
    url: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    result = run_command(pair[0], "--ref-stream", url, "-o", tmp_path / "out.mkv")
    assert result.exit_code == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.stderr


def test_a_line_with_such_a_url_fails_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    lines = [
        {"input": "http://u:x[x@h/c.mp4", "ref_stream": str(pair[1])},
        {"input": str(pair[0]), "ref_stream": str(pair[1]), "output": str(tmp_path / "m.mkv")},
    ]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run_command("--manifest", manifest)
    assert "1 of 2 inputs failed" in result.stderr
    assert (tmp_path / "m.mkv").exists()
