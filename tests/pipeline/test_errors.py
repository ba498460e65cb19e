"""Errors that users meet: one line, one exit status, one voice."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import (
    InputError,
    OutputExistsError,
    already_there,
    first_line,
    last_line,
    no_folder,
)


def test_the_first_line_of_an_error_is_its_first_line_with_words() -> None:
    assert first_line(ValueError("no codec\nstack of the library")) == "no codec"
    assert first_line(ValueError("\n  no codec  \n")) == "no codec"
    assert first_line(ValueError("")) == "ValueError"


def test_numbers_and_paths_of_libraries_are_left_out() -> None:
    lines = {
        "[Errno 1094995529] Invalid data found when processing input: 'file:a: b.txt'": (
            "Invalid data found when processing input"
        ),
        "Invalid argument: 'file:/a/n.h263' returned 22": "Invalid argument",
        "[Errno 5] Input/output error: 'file:a.mkv'; last error log: [mov] no moov": (
            "Input/output error; last error log: [mov] no moov"
        ),
        "[Errno 2] No such file or directory: 'a.mkv'": "No such file or directory: 'a.mkv'",
    }
    assert {line: first_line(ValueError(line)) for line in lines} == lines


def test_the_last_line_of_an_error_is_its_last_line_with_words() -> None:
    assert last_line(ValueError("Traceback of the worker\nKeyError: 3")) == "KeyError: 3"
    assert last_line(ValueError("\n  no codec  \n \n")) == "no codec"


def test_the_last_line_of_an_error_without_a_message_is_its_type() -> None:
    assert last_line(ValueError("")) == "ValueError"
    assert last_line(RuntimeError(" \n ")) == "RuntimeError"


def test_an_output_that_exists_is_named_with_a_way_out() -> None:
    error = already_there(Path("out.mkv"))
    assert isinstance(error, OutputExistsError)
    assert isinstance(error, InputError)
    assert str(error) == "out.mkv already exists; try another -o, or --force to replace it"
    assert str(already_there("sheet.png", "try another name")).endswith("; try another name")


def test_a_missing_folder_is_named_with_a_way_out() -> None:
    assert str(no_folder("no/such")) == ("the folder no/such does not exist; create it first")
