"""The table of the functions that a child may call, against the functions that call a child."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.confined.child import RIGHTS
from pipeline.media.sandbox.parent import name_function
from tests.support import ROOT

# without the command line, which names its commands in the same form
SOURCES = [file for file in sorted((ROOT / "pipeline").rglob("*.py")) if file.parent.name != "cli"]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def marked_functions() -> Iterator[Callable[..., Any]]:
    """Yield the functions of the pipeline that are decorated by `sandboxed`."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            if "sandboxed" in [ast.unparse(mark) for mark in node.decorator_list]:
                yield getattr(importlib.import_module(module_of(file)), node.name)


def named_functions() -> set[str]:
    """Return the functions that the pipeline names as `module:function` in a string."""
    named = set()
    for file in SOURCES:
        named |= set(re.findall(r'"(pipeline[\w.]+:\w+)"', file.read_text(encoding="utf-8")))
    return named


def test_the_table_holds_what_is_called_in_children_and_nothing_else() -> None:
    marked = {name_function(function) for function in marked_functions()}
    assert len(marked) >= 7
    assert marked | named_functions() == {name_function(function) for function in RIGHTS}


def test_rights_to_the_output_belong_to_functions_that_have_one() -> None:
    for function, right in RIGHTS.items():
        has_output = "out" in inspect.signature(function).parameters
        assert has_output == (right != "nothing"), function
