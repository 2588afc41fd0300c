# SPDX-License-Identifier: Apache-2.0
"""The import table and the size budget, by reading the source."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
# Low to high. A unit may import lower levels and earlier ones of its own level.
LEVELS = (
    "errors startup files estimates environment priors sampling tracing pairwise "
    "posteriors likelihoods data run_files plots",
    "divergences networks replicas",
    "objectives objective_means set_divergence batch_bias theory",
    "launches step_noise training fitting vae metrics evaluation_rows export "
    "model_card report",
    "config builders strategies callbacks failure_search finished_run figures "
    "evaluation_figures experiment evaluation sweep",
    "reproduce cli",
)
RANK = {
    unit: (level, place)
    for level, units in enumerate(LEVELS)
    for place, unit in enumerate(units.split())
}
PLOTTERS = {"figures", "evaluation_figures", "reproduce"}
SOURCES = sorted((ROOT / "tf_decomp").rglob("*.py"))
PROGRAMS = sorted((ROOT / "bin").glob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in [*SOURCES, *PROGRAMS]}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path) for path in SOURCES}


def unit_of(module: str) -> str:
    """tf_decomp.priors.base -> priors; the package itself is ''."""
    return [*module.split("."), ""][1]


def imports_of(tree: ast.AST) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Own modules that a tree imports, by the node that does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in names]
        else:
            continue
        own = ("tf_decomp", "bin")
        yield from ((node, name) for name in names if name.split(".")[0] in own)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def lines_of(first: ast.stmt, last: ast.stmt) -> set[int]:
    return set(range(first.lineno, (last.end_lineno or last.lineno) + 1))


def code_lines(path: Path) -> set[int]:
    """Lines that hold more than comments, docstrings and blanks."""
    documented = (ast.Module, ast.ClassDef, *FUNCTIONS)
    docstrings: set[int] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, documented) and ast.get_docstring(node):
            text = node.body[0]
            docstrings |= lines_of(text, text)
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT}
    empty |= {tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(
        io.StringIO(path.read_text("utf-8")).readline
    ):
        if token.type not in empty:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - docstrings


each_source = pytest.mark.parametrize("path", TREES, ids=module_name)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_down(path: Path) -> None:
    here = unit_of(module_name(path))
    if not here:
        return  # the package re-exports everything
    assert here in RANK, f"{path.name}: give {here!r} a level in {Path(__file__).name}"
    for node, module in imports_of(TREES[path]):
        there, where = unit_of(module), f"{module_name(path)}:{node.lineno}"
        assert module.split(".")[0] != "bin", f"{where} imports bin"
        assert there, f"{where} imports the package: import the module that has it"
        assert there in RANK, f"{where}: give {there!r} a level in {__name__}"
        assert there != "cli", f"{where}: only bin imports cli"
        assert there != "plots" or here in {*PLOTTERS, "plots"}, f"{where}: plots"
        assert RANK[there] < RANK[here] or there == here, (
            f"{where}: {here} {RANK[here]} imports {there} {RANK[there]}"
        )


@each_source
def test_no_own_import_in_a_function(path: Path) -> None:
    for function in functions_of(TREES[path]):
        for node, module in imports_of(function):
            pytest.fail(f"{path}:{node.lineno} imports {module} in {function.name}")


def test_no_cycles() -> None:
    edges = {
        module_name(p): {module for _, module in imports_of(TREES[p])} for p in SOURCES
    }
    while edges:
        leaves = {name for name, targets in edges.items() if not targets & set(edges)}
        assert leaves, f"cycle among {sorted(edges)}"
        edges = {name: edges[name] for name in edges if name not in leaves}


@each_source
def test_size(path: Path) -> None:
    lines = code_lines(path)
    assert len(lines) <= 300, f"{path} has {len(lines)} code lines"
    for function in functions_of(TREES[path]):
        count = len(lines & lines_of(function.body[0], function))
        assert count <= 40, (
            f"{path}:{function.lineno} {function.name} has {count} lines"
        )


@each_source
def test_at_most_8_public_names(path: Path) -> None:
    if path.name == "__init__.py":
        return
    names: list[str] = []
    for node in TREES[path].body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [t.id for t in targets if isinstance(t, ast.Name)]
    public = [name for name in names if not name.startswith("_")]
    assert len(public) <= 8, f"{path} has {len(public)} public names: {public}"


@each_source
def test_documented_and_annotated(path: Path) -> None:
    assert ast.get_docstring(TREES[path]), f"{path} has no docstring"
    public: list[tuple[ast.Module | ast.ClassDef, str]] = [(TREES[path], "")]
    while public:
        parent, prefix = public.pop()
        for node in parent.body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name[0] != "_":
                name = f"{path}:{node.lineno} {prefix}{node.name}"
                setter = any(
                    isinstance(d, ast.Attribute) and d.attr == "setter"
                    for d in node.decorator_list
                )
                assert setter or ast.get_docstring(node), f"{name} has no docstring"
                if isinstance(node, ast.ClassDef):
                    public.append((node, f"{node.name}."))
    for function in functions_of(TREES[path]):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        arguments += [a for a in (given.vararg, given.kwarg) if a]
        bare = [
            a.arg
            for a in arguments
            if not a.annotation and a.arg not in ("self", "cls")
        ]
        where = f"{path}:{function.lineno} {function.name}"
        assert function.returns is not None, f"{where} does not say what it returns"
        assert not bare, f"{where} does not annotate {bare}"


def test_print_medians(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {path: code_lines(path) for path in SOURCES}
    bodies = [
        len(lines[path] & lines_of(f.body[0], f))
        for path in SOURCES
        for f in functions_of(TREES[path])
    ]
    modules = np.median([len(each) for each in lines.values()])
    with capsys.disabled():
        print(f"\nmedian code lines: module {modules:g}, body {np.median(bodies):g}")
    assert bodies
