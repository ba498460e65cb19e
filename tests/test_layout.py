"""Tests of the layout in ARCHITECTURE.md: imports, layers, circles, sizes and private names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS
from tests.support import ROOT

# Package -> the packages that it may import.
ALLOWED = {
    "crossnetpp": set(),
    "deploy": {"crossnetpp"},
    "pipeline": {"crossnetpp", "deploy"},
    "jobs": {"crossnetpp", "deploy", "pipeline"},
}

# Package -> its folders and modules, row by row. A row may import the rows below it, never its own.
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "deploy": (
        ("speed",),
        ("load",),
        ("selftest", "adapted_models"),
        ("engines",),
        ("trt", "choice"),
        ("export", "machine"),
        ("registry", "tiling", "mirroring", "photograph"),
        ("protocol", "memory", "cache", "device"),
        ("distribution", "names", "child_process"),
    ),
    "pipeline": (
        ("cli",),
        ("ui",),
        ("tools", "api", "arrays"),
        ("runs", "report"),
        ("planning", "execution", "assembly", "measuring", "adaptation"),
        ("confined",),
        ("pairing",),
        ("recording",),
        ("lightfield",),
        ("ledger",),
        ("media", "remote"),
        ("schema",),
        ("paths",),
        ("errors", "progress", "interrupt", "pixels", "confinement"),
    ),
    "pipeline.media": (
        ("join",),
        ("read", "write"),
        ("pictures",),
        ("sandbox",),
        ("streams",),
        ("alpha", "hdr", "subtitles", "planes"),
        ("colour", "chroma"),
        ("container",),
    ),
    "crossnetpp": (
        ("train", "evaluate", "api"),
        ("training", "evaluation"),
        ("data", "adaptation", "classical"),
        ("losses", "checkpoint", "capture"),
        ("networks", "metrics", "vmaf", "landmarks", "machine", "printable", "output_folder"),
    ),
    "jobs": (
        ("gpu",),
        ("stress", "bench", "field_cases"),
        ("quality", "media"),
        ("machine", "bad_input"),
    ),
}

# Packages that take long to import; the command line imports them only when a command runs.
HEAVY = (
    *("torch", "ray", "cv2", "av", "scipy", "scenedetect", "imageio", "PIL", "jinja2", "rich"),
    *("tensorrt", "tensorrt_rtx", "onnx", "onnxruntime", "openvino", "h5py", "fsspec", "pyarrow"),
    "aiohttp",
)

# Arguments of `Path.open` for text.
TEXT_MODES = (["r"], ["w"], ["a"], ["x"], ["r+"], ["w+"], ["a+"])

MOST_LINES = 400
MOST_MODULES = 22
MOST_AT_THE_TOP = 10


def modules(package: str) -> dict[str, Path]:
    """Return dotted name -> file of every module of `package`."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Return the dotted names a file imports anywhere, except for type checking."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for name, path in modules(package).items():
        reached = {imported.split(".")[0] for imported in imports(path)} & set(ALLOWED)
        assert reached <= ALLOWED[package] | {package}, f"{name} imports {reached}"


@pytest.mark.parametrize("package", ALLOWED)
def test_no_circles_inside_a_package(package: str) -> None:
    files = modules(package)
    arrows = {name: imports(path) & set(files) - {name} for name, path in files.items()}
    # A package's __init__ is reached by every import below it; it counts only what it imports.
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for target in sorted(arrows[name]):
            visit(target, (*trail, name))
        done.add(name)

    for name in files:
        visit(name, ())


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in (*ALLOWED, "tests")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_pyav_lives_in_the_media_packages_and_the_recorder_only() -> None:
    allowed = ("pipeline.media", "jobs.media", "jobs.stress.fuzz_media", "crossnetpp.data.recorder")
    for package in ALLOWED:
        for name, path in modules(package).items():
            if not name.startswith(allowed):
                assert "av" not in {imported.split(".")[0] for imported in imports(path)}, name


def test_import_of_the_command_line_is_light() -> None:
    code = """
import importlib, json, sys
import pipeline, crossnetpp
from pipeline.cli.main import COMMANDS
reached = {"pipeline.cli.main": list(sys.modules)}
for module, _ in COMMANDS.values():
    importlib.import_module(module.partition(":")[0])
    reached[module] = list(sys.modules)
print(json.dumps(reached))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    reached = json.loads(done.stdout)
    assert len(reached) == len(COMMANDS) + 1
    found = {module: set(HEAVY) & set(names) for module, names in reached.items()}
    assert {module: names for module, names in found.items() if names} == {}


def test_test_modules_have_names_of_their_own() -> None:
    # pytest imports modules without a package by their names alone, and leaves out the second
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def part_of(module: str, package: str) -> str:
    """Return the folder or module right below `package` that `module` belongs to, "" for none."""
    if not module.startswith(f"{package}."):
        return ""
    return module.removeprefix(f"{package}.").split(".")[0]


@pytest.mark.parametrize("package", LAYERS)
def test_folders_import_only_the_layers_below_them(package: str) -> None:
    row_of = {part: row for row, parts in enumerate(LAYERS[package]) for part in parts}
    wrong = []
    for name, path in modules(package.split(".")[0]).items():
        part = part_of(name, package)
        if part in ("", "__main__"):
            continue
        assert part in row_of, f"{name} is in no layer"
        for imported in sorted(imports(path)):
            target = part_of(imported, package)
            if target in row_of and target != part and row_of[target] <= row_of[part]:
                wrong.append(f"{name} -> {imported}")
    assert wrong == []


@pytest.mark.parametrize("package", ALLOWED)
def test_folders_stay_small(package: str) -> None:
    sizes = Counter(path.parent for path in modules(package).values() if path.stem[0] != "_")
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_the_top_of_the_pipeline_is_short() -> None:
    assert len(list((ROOT / "pipeline").glob("*.py"))) <= MOST_AT_THE_TOP


def test_commands_print_in_one_way_only() -> None:
    # `words` makes printable what comes from names and recordings
    wrong = [
        f"{name}:{node.lineno}"
        for name, path in modules("pipeline").items()
        for node in ast.walk(ast.parse(path.read_text()))
        if name != "pipeline.cli.words"
        and isinstance(node, ast.Attribute)
        and node.attr in ("echo", "secho")
    ]
    assert wrong == []


def test_few_functions_take_all_settings_of_a_run() -> None:
    # a function takes the group of settings that it needs
    takers = [
        f"{name}.{node.name}"
        for name, path in modules("pipeline").items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.annotation is not None and "RunSettings" in ast.unparse(argument.annotation)
    ]
    assert len(takers) <= 5, takers


def test_recordings_differ_by_their_types() -> None:
    # not by comparing a kind, or by testing for a missing grid
    wrong = [
        f"{name}:{number}"
        for name, path in modules("pipeline").items()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "grid is None" in line or "kind ==" in line
    ]
    assert len(wrong) < 15, wrong


@pytest.mark.parametrize("package", ALLOWED)
def test_text_is_read_and_written_in_a_named_encoding(package: str) -> None:
    # the default depends on the user's locale
    wrong = []
    for name, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
            is_text = node.func.attr in ("read_text", "write_text") or (
                node.func.attr == "open" and modes in TEXT_MODES and len(node.args) == 1
            )
            if is_text and "encoding" not in [keyword.arg for keyword in node.keywords]:
                wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("package", ALLOWED)
def test_every_folder_says_what_it_is_for(package: str) -> None:
    for path in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize("package", ALLOWED)
def test_production_code_neither_mocks_nor_borrows_private_names(package: str) -> None:
    known = {module for owner in ALLOWED for module in modules(owner)}
    wrong = []
    for name, path in modules(package).items():
        tree = ast.parse(path.read_text())
        own_modules = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
            if f"{node.module}.{alias.name}" in known
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                private = [a.name for a in node.names if a.name.startswith("_")]
                foreign = node.module.split(".")[0] in ALLOWED and node.module != "__future__"
                wrong += [f"{name}: {node.module}.{n}" for n in private if foreign]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                borrowed = node.value.id in own_modules and node.attr.startswith("_")
                wrong += [f"{name}: {node.value.id}.{node.attr}"] if borrowed else []
        wrong += [f"{name}: {i}" for i in imports(path) if i.startswith(("unittest", "mock"))]
    assert wrong == []
