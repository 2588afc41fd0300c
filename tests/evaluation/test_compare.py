# SPDX-License-Identifier: Apache-2.0
"""Comparing runs: what differs, every number with its error, three files."""

import csv
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from runs import one_line, tree

from tf_decomp.errors import InputError
from tf_decomp.evaluation import compare, compare_runs
from tf_decomp.evaluation.report import latex
from tf_decomp.evaluation.rows import Evaluation, Row
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_json, write_text

INFORMATION = Row(
    "overlap",
    "overlap/mutual_information",
    "mutual information I(x;z)",
    4.12345678,
    0.0213,
    1000,
    unit="nats",
    bound=5.99,
    note="bounded by log n",
)
MATCH = Row(
    "regularisation",
    "regularisation/joint_mmd",
    "joint MMD",
    0.141,
    0.0093,
    400,
    better="lower",
    note="permutation p-value 0.002",
)
SCORE = Row("disentanglement", "sap", "SAP", 0.5, 0.1, 300, chance=0.05, bound=1.0)
HOSTILE = "a_&%$#{}~^\\[*]<b>|\"'"


def make(
    folder: Path,
    rows: Sequence[Row] = (INFORMATION, MATCH),
    elbo: float = -1.5,
    config: ExperimentConfig | None = None,
    **settings: Any,
) -> Path:
    """Makes what a finished and evaluated run leaves, as far as comparing reads it."""
    files = RunFiles(folder)
    config = config or ExperimentConfig(output_dir=str(folder), **settings)
    write_text(files.config, config.to_flags())
    result = {"value": elbo, "standard_error": 0.1, "n": 400}
    write_json(files.metrics, {"test/elbo": result})
    judge(folder, rows)
    return folder


def judge(folder: Path, rows: Sequence[Row], **others: Any) -> None:
    verdicts = {"overlap": {"verdict": "appropriate", "text": "So it is."}}
    evaluation = Evaluation(rows, verdicts, **others)
    write_json(RunFiles(folder).evaluation, evaluation.to_json())


def text_of(source: str) -> str:
    """Returns words without tags and with plain spaces."""
    source = re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", source)).split())


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Returns the rows of each table with columns of runs, by its caption."""
    source = page.read_text(encoding="utf-8")
    found = {}
    for table in re.findall(r"<table class=\"metrics\">.*?</table>", source, re.DOTALL):
        caption, *rows = re.findall(r"<(?:caption|tr).*?</(?:caption|tr)>", table, re.S)
        found[text_of(caption)] = [
            [text_of(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)]
            for row in rows
        ]
    return found


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def typeset(folder: Path) -> str:
    return (folder / "comparison.tex").read_text(encoding="utf-8")


# -- what is compared ----------------------------------------------------------------


def test_settings_that_differ_come_first_then_every_number(tmp_path: Path) -> None:
    a = make(tmp_path / "a", beta=0.1, gamma=0.5)  # gamma is not a normal prior's
    b = make(
        tmp_path / "b",
        [INFORMATION._replace(value=3.0, n=500), SCORE],
        prior="spike_and_slab",
        strategy="mirrored",
    )
    page = compare_runs([a, b], tmp_path / "out")
    assert page == tmp_path / "out" / "comparison.html"
    found = tables(page)
    assert list(found) == ["Single runs"]
    assert found["Single runs"] == [
        ["", "a", "b"],
        ["Settings that differ", ""],
        ["prior", "normal", "spike_and_slab"],
        ["gamma", "–", "0.8"],
        ["spike_variance", "–", "0.05"],
        ["beta", "0.1", "1.0"],
        ["Verdict", ""],
        ["Factor (a): overlap of encodings", "appropriate", "appropriate"],
        ["Objective on the test set", ""],
        ["ELBO higher is better; nats; n = 400", "−1.50 ± 0.10", "−1.50 ± 0.10"],
        ["Factor (a): overlap of encodings", ""],
        [
            "mutual information I(x;z) nats; bound 5.99; bounded by log n",
            "4.123 ± 0.021 n = 1,000",
            "3.000 ± 0.021 n = 500",
        ],
        ["Factor (b): match of q(z) and the prior", ""],
        [
            "joint MMD lower is better; n = 400; permutation p-value 0.002",
            "0.1410 ± 0.0093",
            "–",
        ],
        ["Disentanglement", ""],
        ["SAP chance level 0.0500; bound 1; n = 300", "–", "0.50 ± 0.10"],
    ]
    text = text_of(page.read_text(encoding="utf-8"))
    assert "latent_dim 2" in text  # what all have
    assert "strategy" not in text
    assert "output_dir" not in text


def test_csv_has_a_row_for_each_run_and_metric_in_full_precision(
    tmp_path: Path,
) -> None:
    runs = [make(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    judge(runs[1], [SCORE._replace(value=float("nan"), standard_error=None)])
    compare_runs(runs, tmp_path)
    rows = table(tmp_path)
    assert [[*row.values()] for row in rows] == [
        ["a", "0", "test/elbo", "-1.5", "0.1", "400"],
        ["a", "0", "overlap/mutual_information", "4.12345678", "0.0213", "1000"],
        ["a", "0", "regularisation/joint_mmd", "0.141", "0.0093", "400"],
        ["b", "1", "test/elbo", "-1.5", "0.1", "400"],
        ["b", "1", "sap", "", "", "300"],
    ]
    assert [*rows[0]] == ["run", "seed", "metric", "value", "standard_error", "n"]


def test_means_over_seeds_with_the_error_of_their_spread(tmp_path: Path) -> None:
    values = [0.1, 0.4, 0.25]
    runs = [
        make(tmp_path / f"a{seed}", [MATCH._replace(value=value)], seed=seed)
        for seed, value in enumerate(values)
    ]
    judge(runs[0], [MATCH._replace(value=values[0]), SCORE])
    runs.append(make(tmp_path / "alone", beta=5.0))
    page = compare_runs(runs, tmp_path)
    found = tables(page)
    assert list(found) == ["Means over seeds", "Single runs"]
    means = {row[0].partition(" lower")[0]: row[1:] for row in found[next(iter(found))]}
    assert means[""] == ["beta=1.0", "alone"]
    assert means["seed"] == ["0, 1, 2", "0"]
    error = np.std(values, ddof=1) / 3**0.5
    assert means["joint MMD"] == [f"0.250 ± {error:.3f}", "0.141"]  # one has no error
    (score,) = (row for name, row in means.items() if name.startswith("SAP"))
    assert score == ["0.500", "–"]
    assert any("of 1 of 3 runs" in name for name in means)
    assert len(table(tmp_path)) == 4 + 3 + 1 + 2  # single runs alone
    assert f"0.250 \\pm {error:.3f}$ & $0.141$ \\\\" in typeset(tmp_path)


def test_runs_of_one_seed_are_not_averaged(tmp_path: Path) -> None:
    runs = [make(tmp_path / name, seed=0) for name in "abc"]
    page = compare_runs(runs, tmp_path)
    assert list(tables(page)) == ["Single runs"]
    assert "All settings of the runs are the same" in page.read_text(encoding="utf-8")
    more = [
        make(tmp_path / name, seed=seed, beta=2.0) for seed, name in enumerate("xy")
    ]
    means = tables(compare_runs([*runs, *more], tmp_path))["Means over seeds"]
    assert means[0] == ["", "a", "b", "c", "beta=2.0"]


def test_a_sweep_stands_for_its_finished_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    write_json(sweep / "sweep.json", {})
    for beta in (10.0, 2.0):
        for seed in (1, 0):
            make(sweep / f"beta={beta:g},seed={seed}", beta=beta, seed=seed)
    (sweep / "beta=2,seed=0" / "metrics.json").unlink()
    (sweep / ".submitit").mkdir()
    other = make(tmp_path / "other")
    page = compare_runs([sweep, other], sweep)
    names = [
        f"sweep/beta={beta},seed={seed}" for beta, seed in [(2, 1), (10, 0), (10, 1)]
    ]
    head = [name.replace(" ", "") for name in tables(page)["Single runs"][0]]
    assert head == ["", *names, "other"]
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "1 of 4 runs are not finished" in error


def test_other_data_are_said_to_be_others(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    b = make(tmp_path / "b", dataset="dsprites", max_test_examples=10)
    page = compare_runs([a, b], tmp_path)
    text = text_of(page.read_text(encoding="utf-8"))
    assert "The test sets differ (dataset, max_test_examples)" in text


def test_judged_codes_have_no_settings(tmp_path: Path) -> None:
    a, codes = make(tmp_path / "a"), tmp_path / "codes"
    judge(codes, [SCORE], warnings=["Few are active."])
    page = compare_runs([a, codes], tmp_path)
    text = text_of(page.read_text(encoding="utf-8"))
    assert "Judged codes, without settings: codes." in text
    assert "Note on the scores of codes: Few are active." in text
    assert "same" not in text
    (row,) = (row for row in table(tmp_path) if row["metric"] == "sap")
    assert row["run"] == "codes"


# -- the page ------------------------------------------------------------------------


def test_pictures_stand_side_by_side_in_a_page_of_one_file(tmp_path: Path) -> None:
    runs = [make(tmp_path / name) for name in "ab"]
    for run in runs:
        names = ["two_factors.png", "moving.gif"]
        figures = [
            {"file": f"plots/{name}", "title": name, "caption": "Both.", "alt": "x"}
            for name in names
        ]
        judge(run, [MATCH], figures=figures)
        (run / "plots").mkdir()
        for name in [*names, "samples.png"]:
            PIL.Image.new("RGB", (150, 300)).save(run / "plots" / name)
    (runs[1] / "plots" / "samples.png").unlink()
    source = compare_runs(runs, tmp_path).read_text(encoding="utf-8")
    images = re.findall(r"<img[^>]*>", source)
    alts = [re.findall(r'alt="(.*?)"', image)[0] for image in images]
    assert alts == ["two_factors.png of a", "two_factors.png of b", "Samples of a"]
    for image in images:
        assert 'src="data:image/png;base64,' in image
        assert 'width="96" height="192"' in image
    assert source.count("Both.") == 1  # for all of them
    ids = re.findall(r' id="(.*?)"', source)
    assert len(ids) == len({*ids})
    assert {*re.findall(r'href="#(.*?)"', source)} <= {*ids}
    assert not re.search(r"https?://|<script|<link[^>]*href=\"[^d]|url\(", source)


def test_pictures_of_many_runs_are_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_MOST_PICTURED", 2)
    runs = [make(tmp_path / name) for name in "abc"]
    for run in runs:
        (run / "plots").mkdir()
        PIL.Image.new("RGB", (15, 30)).save(run / "plots" / "samples.png")
    source = compare_runs(runs, tmp_path).read_text(encoding="utf-8")
    assert source.count("<img") == 2
    assert "Of the first 2 runs" in source
    assert "Of the first" not in compare_runs(runs[1:], tmp_path).read_text("utf-8")


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    runs = [make(tmp_path / f"{HOSTILE}{seed}", seed=seed) for seed in range(2)]
    row = MATCH._replace(key="overlap/hostile", name=f"*{HOSTILE}", note=HOSTILE)
    make(tmp_path / HOSTILE, [row], beta=2.0)
    page = compare_runs([*runs, tmp_path / HOSTILE], tmp_path / "out")
    source = page.read_text(encoding="utf-8")
    assert "<b>" not in source
    assert text_of(source).count(HOSTILE) >= 4
    check_latex(typeset(tmp_path / "out"))


def test_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    runs = [make(tmp_path / name, beta=beta) for beta, name in enumerate("ab")]
    first = [path.read_bytes() for path in written(runs, tmp_path / "1")]
    assert first == [path.read_bytes() for path in written(runs, tmp_path / "2")]


def written(runs: Sequence[Path], folder: Path) -> list[Path]:
    compare_runs(runs, folder)
    assert len([*folder.iterdir()]) == 3
    return sorted(folder.iterdir())


# -- LaTeX ---------------------------------------------------------------------------


def check_latex(source: str) -> None:
    """Checks what would stop pdflatex: groups, formulas, cells, special signs."""
    lines = source.splitlines()
    assert lines[0].startswith("% ")
    assert re.fullmatch(r"\\begin\{tabular\}\{lr+\}", lines[1])
    assert lines[-1] == r"\end{tabular}"
    columns = len(lines[1]) - len(r"\begin{tabular}{}")
    for line in lines[2:-1]:
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        assert line.endswith(r" \\"), line
        plain = re.sub(r"\\[&%$#_{}]", "", line.removesuffix(r"\\"))
        assert plain.count("{") == plain.count("}"), line
        assert plain.count("$") % 2 == 0, line
        assert not re.search(r"[%#~]", plain), line
        words = re.sub(r"\$[^$]*\$", "", plain)
        assert not re.search(r"[_^<>|]|\\(?!text|multi|emph)", words), line
        assert not re.match(r"\s*[\[*]", plain), line  # arguments of the row before
        if not line.startswith(rf"\multicolumn{{{columns}}}"):
            assert plain.count("&") == columns - 1, line
        assert plain.isascii(), line


def test_latex_is_a_table_of_booktabs(tmp_path: Path) -> None:
    runs = [make(tmp_path / f"run_{beta}", beta=beta) for beta in (0.5, 2.0)]
    compare_runs(runs, tmp_path)
    source = typeset(tmp_path)
    check_latex(source)
    for line in (
        r"\begin{tabular}{lrr}",
        r" & run\_0.5 & run\_2.0 \\",
        r"beta & $0.5$ & $2.0$ \\",
        r"ELBO (nats) $\uparrow$ & $-1.50 \pm 0.10$ & $-1.50 \pm 0.10$ \\",
        r"joint MMD $\downarrow$ & $0.1410 \pm 0.0093$ & $0.1410 \pm 0.0093$ \\",
        r"\multicolumn{3}{l}{\emph{Factor (a): overlap of encodings}} \\",
    ):
        assert line in source.splitlines()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("4.099 ± 0.021", r"$4.099 \pm 0.021$"),
        ("−1,056 ± 31", r"$-1{,}056 \pm 31$"),
        ("(1.20 ± 0.30) × 10⁻⁷", r"$(1.20 \pm 0.30) \times 10^{-7}$"),
        ("∞", r"$\infty$"),
        ("–", "--"),
        ("n/a", "n/a"),
        ("not matched", "not matched"),
        ("student_t", r"student\_t"),
        ("1e-05", "1e-05"),
    ],
)
def test_numbers_in_latex(number: str, expected: str) -> None:
    assert latex.typeset(number) == expected


# -- bad input -----------------------------------------------------------------------


def refused(runs: Sequence[Path], output_dir: Path, *named: str) -> None:
    root = runs[0].parent
    before = tree(root)
    with pytest.raises(InputError) as error:
        compare_runs(runs, output_dir)
    one_line(error, *named)
    assert tree(root) == before


def test_lists_that_cannot_be_compared(tmp_path: Path) -> None:
    a, b, out = make(tmp_path / "a"), make(tmp_path / "b"), tmp_path / "out"
    with pytest.raises(InputError, match="received none"):
        compare_runs([], out)
    refused([a], out, "two runs or more", str(a))
    refused([a, b, tmp_path / "b" / ".." / "a"], out, "twice")
    refused([a, tmp_path / "none"], out, str(tmp_path / "none"), "run")
    (tmp_path / "empty").mkdir()
    refused([a, tmp_path / "empty"], out, str(tmp_path / "empty"), "run")
    write_json(tmp_path / "sweep.json", {})
    refused([tmp_path, b], out, str(b), "twice")
    write_text(tmp_path / "file", "mine")
    refused([a, b], tmp_path / "file", str(tmp_path / "file"), "file")


def test_runs_that_are_not_ready(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a"), make(tmp_path / "b")
    files, out = RunFiles(b), tmp_path / "out"
    write_json(files.evaluation, {"metrics": [{"value": 1}]})
    refused([a, b], out, str(files.evaluation), "evaluate the run again")
    judge(b, [MATCH._replace(group="of a later version")])
    refused([a, b], out, str(files.evaluation), "evaluate the run again")
    write_text(files.evaluation, "{")
    refused([a, b], out, str(files.evaluation), "JSON")
    files.evaluation.unlink()
    refused([a, b], out, str(b), "evaluate")
    RunFiles(a).evaluation.unlink()
    refused([a, b], out, str(a), "(and 1 more)")
    RunFiles(a).metrics.unlink()
    refused([a, b], out, str(a), "train it first")


def test_without_jinja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(tmp_path / name) for name in "ab"]
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(runs, tmp_path / "out", "jinja2", "pip install")
