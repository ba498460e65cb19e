"""Hostile characters are escaped, and everything else stays."""

from __future__ import annotations

import json
import logging

import pytest

from crossnetpp.printable import PrintableFormatter, make_printable, make_printable_json

TITLE = "\x1b]0;evil\x07"


@pytest.mark.parametrize(
    "text", [TITLE, "\x9b2J", "a\rb", "\x7f", "\u202egpj.exe", "\u2066x\u2069", "\u2028", "\udc80"]
)
def test_control_characters_are_escaped(text: str) -> None:
    shown = make_printable(text)
    assert shown.isprintable()
    assert "\\" in shown


def test_names_in_any_script_stay() -> None:
    text = "Grüße, 東京\u3000👩\u200d💻\u200c\u0645\tx\n"
    assert make_printable(text) == text


def test_json_keeps_its_value() -> None:
    value = {"name": f"{TITLE}\x9b\u202e\u2028ü"}
    shown = make_printable_json(json.dumps(value, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == value


def test_log_lines_are_printable() -> None:
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "found %s", (TITLE,), None)
    assert PrintableFormatter().format(record) == "found \\x1b]0;evil\\x07"
