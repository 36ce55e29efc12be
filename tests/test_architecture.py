"""The rules that keep the package readable: layers, budgets, lazy imports. The source is read, not imported."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mt_transformers"

# A room may import those of earlier layers and those beside it in its own (the test of cycles keeps these one-way).
LAYERS = (
    ("version", "errors", "whole_files", "pictures", "metrics", "demo"),
    ("heads",),
    ("configuration", "backbone", "routing"),
    ("modeling",),
    ("data",),
    ("balancing",),
    ("training",),
    ("continual", "inference", "search"),
    ("baselines",),
    ("cli", "registration"),
)
# Imported on the first call: each a short form of what stands in a later layer.
SHORT_FORMS = {("mt_transformers.modeling.reporting", "mt_transformers.inference.predictor")}
LAYER_OF = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
VAGUE_NAMES = {"utils", "helpers", "common", "misc"}
MAX_FILE_LINES = 400
MAX_CLASS_LINES = 300
MAX_FUNCTION_CODE_LINES = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_files() -> list[Path]:
    """All Python files of the package."""
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of the whole package."""
    return {module_name(path): path for path in source_files()}


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    """File and line, for messages."""
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def import_targets(name: str, node: ast.ImportFrom) -> list[str]:
    """The modules of the package that a relative import in module `name` reaches."""
    is_package = modules()[name].name == "__init__.py"
    parts = name.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    base = ".".join([*parts, node.module] if node.module else parts)
    return [target if (target := f"{base}.{alias.name}") in modules() else base for alias in node.names]


@cache
def import_graph() -> dict[str, dict[str, str]]:
    """
    Module -> the modules it imports -> the place where it does.

    Imports within functions and under TYPE_CHECKING count: they tie modules together as much as the others. Left out
    is the root `__init__`, which names the public names of all layers; a test of its own holds it.
    """
    graph: dict[str, dict[str, str]] = {}
    for name, path in modules().items():
        edges = graph.setdefault(name, {})
        if name == PACKAGE:
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.level:
                targets = [each for each in import_targets(name, node) if (name, each) not in SHORT_FORMS]
                edges.update({target: place(path, node) for target in targets})
    return graph


def functions(tree: ast.AST) -> Iterator[Function]:
    """All functions and methods, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def code_lines(path: Path, function: Function) -> int:
    """Lines of a function without its docstring, blank lines and lines of comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    skipped: set[int] = set()
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        skipped = set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return sum(
        number not in skipped and bool(line := lines[number - 1].strip()) and not line.startswith("#")
        for number in range(function.lineno, (function.end_lineno or function.lineno) + 1)
    )


def missing_annotations(function: Function, *, is_method: bool) -> list[str]:
    """The parameters of a function that have no annotation, and `return`."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    is_static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list)
    if is_method and not is_static:
        positional = positional[1:]
    stars = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    names = [argument.arg for argument in (*positional, *arguments.kwonlyargs, *stars) if argument.annotation is None]
    return names if function.returns is not None else [*names, "return"]


def find_cycle(graph: dict[str, dict[str, str]]) -> list[str]:
    """A cycle of the graph as the list of its modules, the first repeated at the end; empty if there is none."""
    done: set[str] = set()
    trail: list[str] = []

    def visit(name: str) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        trail.append(name)
        for target in graph.get(name, {}):
            if cycle := visit(target):
                return cycle
        trail.pop()
        done.add(name)
        return []

    return next((cycle for name in graph if (cycle := visit(name))), [])


@cache
def public_table() -> dict[str, str]:
    """The table of public names in the root `__init__`."""
    for node in parsed(ROOT / PACKAGE / "__init__.py").body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_PUBLIC":
            table: dict[str, str] = ast.literal_eval(node.value)
            return table
    raise AssertionError("mt_transformers/__init__.py has no table _PUBLIC")


def test_find_cycle_finds_one_and_only_one() -> None:
    assert find_cycle({"a": {"b": ""}, "b": {"c": ""}, "c": {"b": ""}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b": "", "c": ""}, "b": {"c": ""}, "c": {}}) == []


def test_no_import_cycle() -> None:
    assert find_cycle(import_graph()) == []


def test_every_module_has_a_layer() -> None:
    rooms = {name.split(".")[1] for name in modules() if name != PACKAGE}
    assert rooms <= set(LAYER_OF)


def test_imports_point_to_earlier_layers() -> None:
    wrong = []
    for name, edges in import_graph().items():
        for target, where in edges.items():
            if target == PACKAGE:
                wrong.append(f"{where}: imports the root of the package")
                continue
            room, other = name.split(".")[1], target.split(".")[1]
            if LAYER_OF[other] > LAYER_OF[room]:
                wrong.append(f"{where}: {room} imports {other}")
    assert wrong == []


def test_the_package_imports_itself_only_relatively() -> None:
    wrong = []
    for path in source_files():
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            wrong += [
                place(path, node) for name in names if name.split(".")[0] == PACKAGE and isinstance(node, ast.stmt)
            ]
    assert wrong == []


def test_a_short_form_is_imported_on_its_first_call() -> None:
    for name, target in SHORT_FORMS:
        tree = parsed(modules()[name])
        deferred = {node for function in functions(tree) for node in ast.walk(function)}
        found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
        found = [node for node in found if target in import_targets(name, node)]
        assert len(found) == 1
        assert deferred.issuperset(found)


def test_the_root_imports_next_to_nothing_at_run_time() -> None:
    body = parsed(ROOT / PACKAGE / "__init__.py").body
    relative = [node.module for node in body if isinstance(node, ast.ImportFrom) and node.level]
    absolute = {node.module for node in body if isinstance(node, ast.ImportFrom) and not node.level}
    absolute |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    assert relative == ["registration", "version"]
    assert not [
        node
        for node in parsed(ROOT / PACKAGE / "registration.py").body
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert absolute <= {"__future__", "importlib", "typing"}


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_budgets(path: Path) -> None:
    tree = parsed(path)
    length = len(path.read_text(encoding="utf-8").splitlines())
    over = [f"{path.relative_to(ROOT)}: {length} lines"] if length > MAX_FILE_LINES else []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            over += [f"{place(path, node)}: class {node.name}, {length} lines"] if length > MAX_CLASS_LINES else []
    for function in functions(tree):
        length = code_lines(path, function)
        if length > MAX_FUNCTION_CODE_LINES:
            over.append(f"{place(path, function)}: {function.name}, {length} lines of code")
    assert over == []


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_every_function_is_annotated(path: Path) -> None:
    tree = parsed(path)
    methods = {item for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body}
    missing = {
        f"{place(path, function)} {function.name}": names
        for function in functions(tree)
        if (names := missing_annotations(function, is_method=function in methods))
    }
    assert missing == {}


def test_no_file_has_a_vague_name() -> None:
    assert [str(path.relative_to(ROOT)) for path in source_files() if path.stem in VAGUE_NAMES] == []


def test_all_agrees_with_the_table_and_every_name_resolves() -> None:
    package = importlib.import_module(PACKAGE)
    assert sorted(package.__all__) == sorted(public_table())
    assert set(public_table()) <= set(dir(package))
    for name, module in public_table().items():
        assert getattr(package, name) is getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'MultiTaskModle'"):
        _ = package.MultiTaskModle


def test_type_checkers_see_the_table() -> None:
    body = parsed(ROOT / PACKAGE / "__init__.py").body
    guarded = [
        statement
        for node in body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
    ]
    assert {alias.name: node.module for node in guarded for alias in node.names} == public_table()
    assert all(alias.asname == alias.name for node in guarded for alias in node.names)


def test_every_public_name_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in public_table() if not re.search(rf"\b{name}\b", readme)] == []


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]], ids=" ".join)
def test_help_imports_neither_torch_nor_transformers(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"{PACKAGE}.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "usage:" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert PACKAGE in imported
    assert imported & {"torch", "transformers"} == set()
