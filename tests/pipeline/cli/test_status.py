"""`pipeline status` of running, stopped and finished runs, and the log lines of PIPELINE_LOG."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.logs import JsonLines, configure_logging
from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.run_folder import WrittenSegment, run_folder_of
from pipeline.schema.plan import Plan
from pipeline.tools.status import read_status
from tests.support.recordings import plan_pair


@pytest.fixture
def plan(pair: tuple[Path, Path], tmp_path: Path) -> Plan:
    return plan_pair(pair, tmp_path / "out.mkv")


def commit(ledger: Ledger, segment: int) -> None:
    attempt = ledger.folder.new_attempt(segment)
    attempt.write_bytes(b"picture")
    part = ledger.plan.segments[segment]
    ledger.folder.commit(attempt, WrittenSegment(segment, 10, part.start_pts, part.end_pts - 1))


def test_a_running_and_a_stopped_run(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        commit(ledger, 0)
        commit(ledger, 2)
        ledger.folder.new_attempt(1).write_bytes(b"half")
        found = read_status(plan.output)
        assert (found.state, found.segments_done, found.segments) == ("running", 2, 4)
        assert (found.frames_done, found.frames, found.missing) == (20, 40, (1, 3))
        assert (found.attempts, found.last_commit is not None) == (1, True)
        assert read_status(str(run_folder_of(Path(plan.output)))).state == "running"
    assert read_status(plan.output).state == "stopped"
    printed = CliRunner().invoke(main, ["status", plan.output])
    assert printed.exit_code == 0
    assert "stopped; run the same command again to resume" in printed.stdout
    assert "2 of 4 segments, 20 of 40 frames" in printed.stdout
    assert "missing: 1, 3" in printed.stdout


def test_reading_the_status_does_not_disturb_the_run(plan: Plan) -> None:
    with Ledger(plan) as ledger:
        commit(ledger, 0)
    read_status(plan.output)
    with Ledger(plan) as ledger:
        assert ledger.resumed == 1


def test_a_finished_run_and_a_missing_one(plan: Plan) -> None:
    with pytest.raises(InputError, match="there is neither an output at"):
        read_status(plan.output)
    Path(plan.output).write_bytes(b"video")
    answer = CliRunner().invoke(main, ["status", plan.output, "--json"])
    assert json.loads(answer.stdout)["state"] == "done"


def test_log_lines_have_keys_for_what_they_concern(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pipeline")
    before = logger.handlers, logger.level
    try:
        configure_logging("json")
        about = {"run": "7", "segment": 3, "attempt": 2, "node": "n1"}
        logging.getLogger("pipeline.execution.cluster.pool").info(
            "start segment %d", 3, extra=about
        )
        line = json.loads(capsys.readouterr().err)
    finally:
        logger.handlers, level = before[0], before[1]
        logger.setLevel(level)
    assert {key: line[key] for key in about} == about
    assert (line["message"], line["level"]) == ("start segment 3", "info")
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "bad", None, None)
    assert json.loads(JsonLines().format(record))["level"] == "error"
