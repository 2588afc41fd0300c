# SPDX-License-Identifier: Apache-2.0
"""The machinery of the figures: designs, rounds, files, drawings, and a small run."""

import csv
import dataclasses
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claim_cases import CASES, fig4_rounds, networks
from processes import BIN, run_python

from paper import FIGURES, SCALES, redraw, reproduce, rounds, runs
from paper.completeness import read_table
from paper.curves import draw_estimators, draw_fig2, draw_fig4, networks_a_cell
from paper.densities import draw_fig1, draw_fig3, draw_fig5
from paper.estimators import LEARNT, RELATED
from paper.figures import configure, settings_text
from paper.table import COLUMNS, choose, read_rows, write_rows
from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.sweep import Run, parse_grid, plan_runs

ROOT = Path(__file__).parents[2]
TRAINED = [name for name in FIGURES if FIGURES[name].flags]


def cells(figure: str, scale: str, seed: int = 0) -> list[ExperimentConfig]:
    """Returns the settings of one round."""
    panels = FIGURES[figure].scales[scale].panels
    return [
        run.config
        for grid in panels.values()
        for run in plan_runs(
            parse_grid(f"{grid};seed={seed}"),
            lambda **point: configure(figure, scale, Path("runs"), **point),
        )
    ]


# -- definitions ----------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("figure", FIGURES)
def test_settings_are_usable(figure: str, scale: str) -> None:
    text = settings_text(figure, scale)
    if figure not in TRAINED:
        assert all(line.startswith("#") for line in text.splitlines())
        assert not FIGURES[figure].scales[scale].panels
        return
    each = cells(figure, scale)
    assert len({dataclasses.replace(c, output_dir="same") for c in each}) == len(each)
    shared = ExperimentConfig.from_flags(text).to_texts()
    for config in each:  # they differ in what the grid names alone
        changed = {k for k, v in config.to_texts().items() if shared[k] != v}
        assert all(f"{k}=" in text for k in changed - {"output_dir"}), changed
    if scale == "smoke":
        assert len(each) == 1


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_designs_are_those_of_the_paper(scale: str) -> None:
    fig3 = {(c.alpha, c.beta) for c in cells("fig3", scale)}
    assert len(fig3) == 8
    assert FIGURES["fig3"].scales[scale].seeds >= 20
    fresh = FIGURES["fig3_top"].scales[scale].planned()
    assert fresh == range(2000, 2040)
    assert {(c.alpha, c.beta) for c in cells("fig3_top", scale)} == {
        (0.0, 0.5), (0.0, 1.0), (0.0, 1.2)
    }  # fmt: skip
    fig2 = cells("fig2", scale)
    assert {c.prior for c in fig2} == {
        "normal", "normal_pca", "normal_learnt", "student_t"
    }  # fmt: skip
    assert {3.0, 7.0} <= {c.df for c in fig2 if c.prior == "student_t"}
    # An infinite df is the isotropic normal: not trained twice.
    assert all(np.isfinite(c.df) for c in fig2)
    for prior in ("normal", "normal_pca", "normal_learnt"):
        assert {1.0, 4.0} <= {c.beta for c in fig2 if c.prior == prior}
    assert len({c.beta for c in fig2 if c.prior == "normal"}) >= 3
    assert [c.prior for c in cells("fig2_pilots", "cpu")] == [
        c.prior for c in cells("fig2", "cpu")
    ]
    fig4 = {(c.gamma, c.spike_variance, c.alpha, c.beta) for c in cells("fig4", scale)}
    for gamma, beta in ((0.8, 0.1), (0.8, 1.0), (0.8, 5.0), (0.0, 1.0)):
        alphas = {a for g, v, a, b in fig4 if (g, v, b) == (gamma, 0.05, beta)}
        assert len(alphas) >= 4
    assert {v for g, v, _, b in fig4 if (g, b) == (0.8, 1.0)} == {0.05, 0.0025}
    fig5 = cells("fig5", scale)
    assert {(c.alpha, c.beta, c.gamma) for c in fig5} == {(1000.0, 1.0, 0.8)}
    assert {c.spike_variance for c in fig5} == {0.05, 0.0025}
    assert {c.max_train_examples for c in fig5} == {0}
    assert all(FIGURES[f].scales[scale].seeds >= 3 for f in ("fig2", "fig4", "fig5"))


def test_paper_scale_has_the_settings_of_the_configs() -> None:
    for figure, name in (("fig3", "pinwheel"), ("fig2", "dsprites")):
        path = ROOT / "configs" / f"{name}.flags"
        config = ExperimentConfig.from_flags(path.read_text())
        here = ExperimentConfig.from_flags(settings_text(figure, "paper"))
        shared = dataclasses.asdict(here)
        for setting in ("alpha", "beta", "output_dir"):
            shared[setting] = getattr(config, setting)
        assert ExperimentConfig(**shared) == config


# -- rounds ---------------------------------------------------------------------------


def pretend_sweeps(plans: Any, parallel: int) -> list[list[Run]]:
    """Finishes every run but that of beta 3."""
    each = [plan_runs(parse_grid(grid), settings) for grid, settings in plans]
    folders = [run.config.output_dir for planned in each for run in planned]
    assert len(set(folders)) == len(folders)
    for run in (run for planned in each for run in planned):
        run.status = "failed" if run.config.beta == 3 else "finished"
        files = RunFiles(run.config.output_dir)
        files.root.mkdir(parents=True, exist_ok=True)
        if not files.metrics.exists():
            files.metrics.write_text("{}")
    return each


def test_a_round_has_every_cell_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "sweeps", pretend_sweeps)
    measured: list[Path] = []

    def measure(files: RunFiles) -> list[dict[str, Any]]:
        measured.append(files.root)
        return [{"overlap": 2.0, "kl": float("nan")}]

    def one_round() -> list[dict[str, Any]]:
        panels = runs.train_round({"fig3": 4}, "cpu", tmp_path)["fig3"]
        return runs.measured_rows(panels, "cpu", measure, COLUMNS["fig3"])

    rows = one_round()
    points = [(row["panel"], row["alpha"], row["beta"], row["seed"]) for row in rows]
    assert points == [
        *(("beta", 0.0, beta, 4) for beta in (0.01, 0.5, 1.0, 1.2)),
        *(("alpha", alpha, 0.0, 4) for alpha in (1.0, 3.0, 5.0, 8.0)),
    ]
    assert all(row["scale"] == "cpu" and row["overlap"] == 2.0 for row in rows)
    assert all(row.keys() <= set(COLUMNS["fig3"]) for row in rows)
    assert not any("kl" in row for row in rows)  # NaN is nothing
    # A second call measures nothing, a network trained anew is measured anew.
    assert len(measured) == 8
    assert one_round() == rows
    assert len(measured) == 8
    later = time.time() + 10
    os.utime(measured[0] / "metrics.json", (later, later))
    one_round()
    assert measured[8:] == measured[:1]


def test_figures_of_a_round_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[Run]] = []

    def counted(plans: Any, parallel: int) -> list[list[Run]]:
        each = pretend_sweeps(plans, parallel)
        calls.append([run for planned in each for run in planned])
        return each

    monkeypatch.setattr(runs, "sweeps", counted)
    panels = runs.train_round(dict.fromkeys(FIGURES, 0), "smoke", tmp_path)
    assert list(panels) == list(FIGURES)
    # Figures of one network share it; theorems and estimators have none.
    (trained,) = calls
    assert len(trained) == 5
    assert panels["fig1"]["both factors right"] == panels["fig3"]["alpha"]
    assert panels["theory"] == {}
    panels = runs.train_round({"fig1": 0}, "cpu", tmp_path)
    assert [run.config.alpha for own in panels["fig1"].values() for run in own] == [
        0, 0, 3, 5
    ]  # fmt: skip
    assert len(calls) == 2
    assert runs.train_round({}, "cpu", tmp_path) == {}


def test_failed_networks_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_fail(*arguments: Any, **keywords: Any) -> list[list[Run]]:
        each = pretend_sweeps(*arguments, **keywords)
        for run in (run for planned in each for run in planned):
            run.status = "failed"
        return each

    monkeypatch.setattr(runs, "sweeps", all_fail)
    with pytest.raises(InputError, match="no network of seed 0 finished"):
        reproduce("fig3", "cpu", tmp_path / "results", tmp_path / "runs")
    assert not (tmp_path / "results").exists()


def pretend_rounds(monkeypatch: pytest.MonkeyPatch, fails: int | None = None) -> Any:
    """Returns Figure 4's rows instead of training; lists the seeds asked for."""
    trained: list[int] = []

    def one_round(seeds: dict[str, int], scale: str, *_: Any) -> dict[str, Any]:
        trained.extend(seeds.values())
        rows = {}
        for name, seed in seeds.items():
            rows[name] = fig4_rounds([seed])
            if seed == fails and trained.count(seed) == 1:
                del rows[name][0]
        return rows

    monkeypatch.setattr(rounds, "_round", one_round)
    return trained


def test_results_grow_by_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_rounds(monkeypatch)
    results = tmp_path / "results"
    for seeds, verdict in ((2, "incomplete (2 of 5)"), (0, "supported")):
        reproduce("fig4", "cpu", results, tmp_path, seeds=seeds)
        claims = json.loads((results / "claims.json").read_text())
        verdicts = {claim["id"]: claim["verdict"] for claim in claims}
        assert verdicts["C5"] == verdicts["C5b"] == verdicts["C8"] == verdict
        assert verdicts["C1"] == "not run yet"
    readme = (results / "fig4" / "README.md").read_text()
    assert "5 seeds, 100 networks" in readme
    assert "**C5: supported.**" in readme
    assert "5 networks a cell instead of 8" in readme
    folder = results / "fig4"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.flags", "data.csv", "data.csv.sha256",
            "figure.png", "figure.svg"
    }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "scale cpu: fig4 seed 0; 2 rounds left"
    assert re.fullmatch(
        r"scale cpu: fig4 seed 4; 1 round left, about 0\.\d hours", lines[-1]
    )


@pytest.mark.slow
def test_whole_rounds_of_the_table_are_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = pretend_rounds(monkeypatch, fails=1)
    reproduce("fig4", "cpu", tmp_path, tmp_path, seeds=3)
    table = tmp_path / "fig4" / "data.csv"
    reproduce("fig4", "cpu", tmp_path, tmp_path, seeds=4)
    assert trained == [0, 1, 2, 1, 3]
    whole = table.read_bytes()
    reproduce("fig4", "cpu", tmp_path, tmp_path, seeds=4)
    assert trained == [0, 1, 2, 1, 3]
    assert table.read_bytes() == whole
    settings = table.with_name("config.flags")
    settings.write_text(settings.read_text() + "--hidden=7\n")
    reproduce("fig4", "cpu", tmp_path, tmp_path, seeds=1)
    assert trained[5:] == [0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": -1}, "seeds must be a whole number >= 0; received -1"),
        ({"seeds": 1.5}, "seeds must be a whole number >= 0; received 1.5"),
        ({"parallel": -2}, "parallel must be a whole number >= 0; received -2"),
        ({"parallel": True}, "parallel must be a whole number >= 0; received True"),
    ],
)
def test_numbers_of_rounds_and_runs(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reproduce("fig4", "cpu", tmp_path, tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_more_networks_than_planned_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="5 networks a cell are planned .*--seeds=6"):
        reproduce("fig4", "cpu", tmp_path, tmp_path, seeds=6)
    assert not list(tmp_path.iterdir())


def test_figures_stop_at_their_own_number_of_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, int]] = []

    def one_round(seeds: dict[str, int], scale: str, *_: Any) -> dict[str, Any]:
        asked.append(seeds)
        return {name: [{"seed": seed}] for name, seed in seeds.items()}

    monkeypatch.setattr(rounds, "_round", one_round)
    for name in ("write_rows", "redraw"):
        monkeypatch.setattr(rounds, name, lambda *_: None)
    monkeypatch.setattr(rounds, "with_drawn_networks", lambda rows, *_: rows)
    reproduce("all", "cpu", tmp_path, tmp_path)
    planned = {name: FIGURES[name].scales["cpu"].planned() for name in FIGURES}
    assert len(asked) == max(map(len, planned.values()))
    for index, seeds in enumerate(asked):
        assert seeds == {n: s[index] for n, s in planned.items() if index < len(s)}


def test_the_drawn_network_is_nearest_to_the_median(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [("beta", 0.0, beta) for beta in (0.01, 0.5, 1.0, 1.2)]
    cells += [("alpha", alpha, 0.0) for alpha in (1.0, 3.0, 5.0, 8.0)]
    rows = [
        {"kind": "network", "panel": panel, "alpha": alpha, "beta": beta}
        | {"seed": float(seed), "joint_mmd": mmd + alpha, "overlap": 2.0}
        for panel, alpha, beta in cells
        for seed, mmd in enumerate((0.5, 0.1, 0.2, 0.9))
    ]
    trained: list[str] = []

    def counted(plans: Any, parallel: int = 0) -> list[list[Run]]:
        trained.extend(grid for grid, _ in plans)
        return pretend_sweeps(plans, parallel)

    def measure(files: RunFiles) -> list[dict[str, Any]]:
        return [
            {"kind": "drawn", "joint_mmd": 0.2, "overlap": 2.0},
            {"kind": "encoding", "mean_1": 1.0},
        ]

    monkeypatch.setattr(runs, "sweeps", counted)
    monkeypatch.setattr(runs, "measure_encodings", measure)
    drawn = runs.with_drawn_networks(rows, "fig3", "cpu", tmp_path)
    assert drawn[: len(rows)] == rows
    added = drawn[len(rows) :]
    assert len(added) == 2 * 8
    assert {row["seed"] for row in added} == {2.0}  # 0.2 of 0.1, 0.2, 0.5, 0.9
    assert len(trained) == 8
    assert "alpha=0;beta=0.01;seed=2" in trained
    # Encodings at hand are kept, and runs at hand are not trained again.
    assert runs.with_drawn_networks(drawn, "fig3", "cpu", tmp_path) == drawn
    assert len(trained) == 8
    runs.train_round({"fig3": 1}, "cpu", tmp_path)
    less = [row for row in rows if row["seed"] != 2.0]
    again = runs.with_drawn_networks(less, "fig3", "cpu", tmp_path)
    assert {row["seed"] for row in again[len(less) :]} == {0.0}
    # Figures of other data have nothing to add.
    assert runs.with_drawn_networks(rows, "fig4", "cpu", tmp_path) == rows


def test_cells_of_a_round() -> None:
    assert runs.count_cells("fig3", "cpu") == len(cells("fig3", "cpu")) == 8
    assert runs.count_cells("fig4", "cpu") == len(cells("fig4", "cpu")) == 20
    assert runs.count_cells("fig3", "smoke") == 1


# -- redrawing ------------------------------------------------------------------------


def table(folder: Path, figure: str = "fig4", scale: str = "cpu") -> Path:
    path = folder / figure / "data.csv"
    rows = [row | {"scale": scale} for row in fig4_rounds(range(5))]
    write_rows(path, figure, rows)
    return path


def test_redrawing_needs_the_table_alone(tmp_path: Path) -> None:
    path = table(tmp_path)
    (path.parent / "notes.md").write_text("## By hand\n\nA learning curve.\n")
    redraw("fig4", "cpu", tmp_path)
    names = ("figure.svg", "figure.png", "README.md", "config.flags")
    first = [(path.parent / name).read_bytes() for name in names]
    for name in names:
        (path.parent / name).unlink()
    redraw("fig4", "cpu", tmp_path)
    assert [(path.parent / name).read_bytes() for name in names] == first
    assert "A learning curve." in (path.parent / "README.md").read_text()


def test_a_verdict_on_two_figures_is_told_by_both(tmp_path: Path) -> None:
    rows = [{"scale": "cpu", **row} for row in CASES["C4"][0][1]]
    for figure, panel in (("fig3", "alpha"), ("fig3_top", "fresh")):
        mine = [row for row in rows if row["panel"] == panel]
        write_rows(tmp_path / figure / "data.csv", figure, mine)
    redraw("fig3", "cpu", tmp_path)
    top = [row for row in rows if row["panel"] == "fresh" and row["seed"] == 0]
    top = [row | {"seed": 2000.0 + s} for s in range(7) for row in top]
    write_rows(tmp_path / "fig3_top" / "data.csv", "fig3_top", top)
    redraw("fig3_top", "cpu", tmp_path)
    for figure in ("fig3", "fig3_top"):
        readme = (tmp_path / figure / "README.md").read_text()
        assert "**C4: incomplete (7 of 40).**" in readme


def test_scales_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found None"):
        redraw("fig4", "cpu", tmp_path)
    before = table(tmp_path).read_bytes()
    with pytest.raises(InputError, match="found cpu"):
        redraw("fig4", "paper", tmp_path)
    with pytest.raises(InputError, match="larger than smoke"):
        reproduce("fig4", "smoke", tmp_path, tmp_path / "runs")
    assert (tmp_path / "fig4" / "data.csv").read_bytes() == before
    with pytest.raises(InputError, match="--figure=fig1"):
        reproduce("fig9", "smoke", tmp_path, tmp_path)
    with pytest.raises(InputError, match="--scale=smoke"):
        reproduce("fig1", "huge", tmp_path, tmp_path)


# -- drawings -------------------------------------------------------------------------


def lines_of(axes: Any) -> dict[str, Any]:
    """Returns the labelled lines of a panel."""
    return {
        line.get_label(): line
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def test_curves_go_through_means_with_bands_of_two_errors() -> None:
    rows = [{"scale": "cpu", **row} for row in CASES["C5"][0][1]]
    figure = draw_fig4(rows)
    lines = lines_of(figure.axes[0])
    assert len(lines) == 9
    name = r"$\gamma$ = 0.8, $\beta$ = 1"
    alphas, means = lines[name].get_data()
    values = {
        alpha: [
            row["hoyer"]
            for row in rows
            if (row["gamma"], row["spike_variance"], row["beta"]) == (0.8, 0.05, 1.0)
            and row["alpha"] == alpha
        ]
        for alpha in alphas
    }
    assert list(values) == [0, 10, 100, 1000]
    np.testing.assert_allclose(means, [np.mean(v) for v in values.values()])
    index = list(lines).index(name)
    band = figure.axes[0].collections[index].get_paths()[0].get_extents()
    errors = [np.std(v, ddof=1) / np.sqrt(len(v)) for v in values.values()]
    assert band.y1 == pytest.approx(np.max(means + 2 * np.array(errors)))
    assert band.y0 == pytest.approx(np.min(means - 2 * np.array(errors)))
    # Every network is drawn: ten a point, four points, nine curves.
    points = [
        len(line.get_xdata())
        for line in figure.axes[0].get_lines()
        if line.get_linestyle() == "None"
    ]
    assert sum(points) == 10 * 4 * 9
    assert "n = 10 networks a point" in figure._supxlabel.get_text()


def test_figure_2_has_the_paper_s_axes() -> None:
    rows = [{"scale": "cpu", **row} for row in CASES["C1"][0][1]]
    for row in rows:
        row["factor_vae_score_mapped"] = row["factor_vae_score"] + 0.1
        row["active_dimensions"] = 4.0
    left, right, below, _ = draw_fig2(rows).axes
    assert below.get_xlabel() == "reconstruction loss, nats"
    np.testing.assert_array_equal(lines_of(below)["isotropic normal"].get_ydata(), 4)
    losses = lines_of(left)["isotropic normal"].get_xdata()
    np.testing.assert_allclose(losses, [40, 50, 70], rtol=0.02)
    assert [text.get_text() for text in left.texts[:3]] == ["1", "2", "4"]
    assert "∞" in [text.get_text() for text in right.texts]
    score, mapped = (line.get_ydata() for line in lines_of(right).values())
    np.testing.assert_allclose(mapped, score + 0.1)


def pinwheel_rows() -> list[dict[str, Any]]:
    """Returns Figure 3's table: two cells, encodings on the prior's modes."""
    cell = [
        {"panel": p, "alpha": a, "beta": b}
        for p, a, b in (("beta", 0.0, 1.0), ("alpha", 5.0, 0.0))
    ]
    rows = networks(
        [{"kind": "network", "scale": "cpu", **c} for c in cell],
        seeds=3,
        overlap=lambda c: 20.0,
        joint_mmd=lambda c: 0.1,
        inclusive_kl=lambda c: 0.2,
    )
    points = [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)]
    encodings = [
        {"kind": "encoding", "scale": "cpu", "seed": 1.0, **c}
        | {"mean_1": x, "mean_2": y, "deviation_1": 0.17, "deviation_2": 0.17}
        for c in cell
        for x, y in points
    ]
    drawn = [row | {"kind": "drawn"} for row in rows if row["seed"] == 1]
    return rows + drawn + encodings


def test_densities_are_of_the_encodings() -> None:
    figure = draw_fig3(pinwheel_rows())
    assert len(figure.axes) == 2
    for axes in figure.axes:
        density = np.asarray(axes.images[0].get_array())
        # From -2 to 2 in 121 points: modes at +-1 are 30 points off the centre.
        assert density[90, 60] == pytest.approx(density.max(), rel=1e-6)
        assert density[60, 90] == pytest.approx(density.max(), rel=1e-6)
        assert density[60, 60] < 0.01 * density.max()
        assert density.sum() * (4 / 120) ** 2 == pytest.approx(1, abs=0.01)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert r"$\alpha$ = 0, $\beta$ = 1" in titles[0]
    assert "n = 3 networks" in figure._supxlabel.get_text()
    assert "(seed 1)" in titles[0]
    # Before the last round nothing is drawn, and the numbers stand alone.
    networks = [r for r in pinwheel_rows() if r["kind"] == "network"]
    empty = draw_fig3(networks).axes
    assert len(empty) == 2
    assert "here" not in empty[0].get_title(loc="left")


def test_figure_1_prints_the_two_factors() -> None:
    figure = draw_fig1(pinwheel_rows())
    text = " ".join(axes.get_title(loc="left") for axes in figure.axes)
    assert re.search(r"\noverlap (19\.\d+|20\.\d+) ± 0\.\d+ \(here (19|20)", text)
    assert "\nKL(p || q) 0.2" in text
    outer, inner = figure.axes[0].collections
    for deviations, ellipses in ((2, outer), (1, inner)):
        widths = [path.get_extents().width for path in ellipses.get_paths()]
        assert widths == pytest.approx([2 * deviations * 0.17] * 4, rel=1e-3)


def test_figure_5_draws_magnitudes_and_pictures() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rows: list[dict[str, Any]] = [
        {"kind": "magnitude", "class": name, "dimension": float(d)}
        | {"magnitude": 0.1 * d, "magnitude_standard_error": 0.01, "n": 1000.0}
        for name in ("trouser", "dress", "shirt", "bag")
        for d in (1, 2, 3)
    ]
    rows += [
        {"kind": "frame", "class": "dress", "datum": 7.0, "dimension": 2.0}
        | {"step": float(step), "pixels": picture.tobytes().hex()}
        for step in range(3)
    ]
    figure = draw_fig5(rows)
    upper, lower = figure.subfigs
    assert len(upper.axes) == 3
    heights, _, _ = upper.axes[0].patches[0].get_data()
    np.testing.assert_allclose(heights[::2], [0.1, 0.2, 0.3])
    (sheet,) = lower.axes
    pixels = np.asarray(sheet.images[0].get_array())
    expected = (picture / 255).repeat(6, 0).repeat(6, 1)  # about 100 pixels wide
    for row in (0, 96 + 16, 2 * 96 + 16 + 4):
        np.testing.assert_array_equal(pixels[row : row + 96, :, 0], expected)
    assert [label.get_text() for label in sheet.get_xticklabels()] == ["dress\n$z_{2}$"]


def test_estimators_are_drawn_by_batch_size() -> None:
    rows = [{**row, "deviation": 0.5} for row in CASES["C13"][0][1]]
    figure = draw_estimators(rows)
    above, below = figure.axes
    lines = [line for line in above.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == 3
    np.testing.assert_array_equal(lines[0].get_xdata(), [16, 64, 512, 4096])
    np.testing.assert_array_equal(lines[1].get_ydata(), [-5, -3, -1, 0])
    assert below.get_xlabel() == "batch size"
    for group in (RELATED, LEARNT):
        rows += [{**row, "estimator": group[0]} for row in rows[:4]]
    of_related, of_learnt = draw_estimators(rows).axes[2:]
    assert of_related.get_title(loc="left") == "10 dimensions, D of related work"
    assert "adversary" in of_learnt.get_title(loc="left")
    for axes in (of_related, of_learnt):
        assert "bias, nats" in axes.get_ylabel()
        assert len(axes.get_legend().get_texts()) == 1


def test_networks_a_cell() -> None:
    rows = [{"beta": b, "seed": s} for b in (1, 2) for s in range(3)]
    assert networks_a_cell(rows, "beta") == "n = 3 networks a point"
    assert networks_a_cell(rows[:-1], "beta") == "n = 2 to 3 networks a point"
    assert networks_a_cell(rows[:1], "beta") == "n = 1 network a point"


# -- one cell of every figure, from data to files -------------------------------------


def run_program(*flags: str, folder: Path) -> str:
    path = {"PYTHONPATH": str(ROOT)}
    program = BIN / "reproduce.py"
    return run_python(program, *flags, seconds=600, cwd=folder, environment=path)[0]


def check_every_figure(folder: Path, out: str) -> None:
    for figure in FIGURES:
        files = folder / "results" / figure
        names = {path.name for path in files.iterdir()}
        assert names == {
            "README.md", "config.flags", "data.csv", "data.csv.sha256",
            "figure.png", "figure.svg"
        }, figure  # fmt: skip
        rows = read_rows(files / "data.csv", figure)
        # Without a digest, as tables of earlier code, it is whole by its rows.
        digest = files / "data.csv.sha256"
        kept = digest.read_text()
        digest.unlink()
        assert read_table(folder / "results", figure) == rows
        digest.write_text(kept)
        assert {row["scale"] for row in rows} == {"smoke"}
        with (files / "data.csv").open(newline="") as file:
            assert tuple(next(csv.reader(file))) == COLUMNS[figure]


def check_columns(folder: Path, out: str) -> None:
    # What a scale or a figure does not have: df is the Student-t's.
    unknown = {"fig2": {"df"}, "fig2_pilots": {"df"}}
    for figure in TRAINED:
        rows = read_rows(folder / "results" / figure / "data.csv", figure)
        filled = {name for row in rows for name in row}
        assert set(COLUMNS[figure]) - filled <= unknown.get(figure, set()), figure
    fig1 = read_rows(folder / "results" / "fig1" / "data.csv", "fig1")
    assert [row["kind"] for row in fig1[:3]] == ["network", "drawn", "encoding"]
    assert len(fig1) == 1 + 1 + 400
    assert fig1[0]["panel"] == "both factors right"
    # Trained and measured on the subset of the test set that the settings name.
    for path in (folder / "runs").rglob("metrics.json"):
        flags = path.with_name("config.flags").read_text(encoding="utf-8")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        (n,) = {value["n"] for value in metrics.values()}
        assert n == (int(re.search(r"max_test_examples=(\d+)", flags)[1]) or n)
    (fig2,) = read_rows(folder / "results" / "fig2" / "data.csv", "fig2")
    assert fig2["n"] == 2000
    (pilot,) = read_rows(folder / "results" / "fig2_pilots" / "data.csv", "fig2_pilots")
    assert pilot == fig2
    fig5 = read_rows(folder / "results" / "fig5" / "data.csv", "fig5")
    kinds = [row["kind"] for row in fig5]
    assert [kinds.count(k) for k in ("network", "move", "magnitude", "frame")] == [
        1, 200, 10 * 2, 6 * 9
    ]  # fmt: skip


def check_claims(folder: Path, out: str) -> None:
    claims = json.loads((folder / "results" / "claims.json").read_text())
    verdicts = {claim["id"]: claim["verdict"] for claim in claims}
    assert len(verdicts) == 16
    assert "not run yet" not in verdicts.values()
    assert verdicts["C10"] == verdicts["C11"] == "supported"
    # One network is no evidence.
    for claim in ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "S1", "S2"):
        assert verdicts[claim] == "inconclusive"
    for claim, verdict in verdicts.items():
        assert f"{claim}: {verdict}\n" in out


def check_rotations(folder: Path, out: str) -> None:
    rows = read_rows(folder / "results" / "theory" / "data.csv", "theory")
    curves = choose(rows, "difference", part="theorem 2")
    assert [row["degrees"] for row in curves] == [0.0, 30.0, 60.0]
    assert {row["n"] for row in curves} == {600}
    (turned,) = choose(curves, "difference", degrees=30.0)
    assert abs(turned["difference"]) > 5 * turned["difference_standard_error"]


def check_drawn_again(folder: Path, out: str) -> None:
    # Of one figure: the program drew all of them from their tables already.
    picture = folder / "results" / "fig3" / "figure.png"
    before = picture.read_bytes()
    picture.unlink()
    redraw("fig3", "smoke", folder / "results")
    assert picture.read_bytes() == before


@pytest.mark.slow
def test_smoke_of_all_figures(tmp_path: Path) -> None:
    # One test: several that share the folder may run in several processes.
    out = run_program(
        "--figure=all",
        "--scale=smoke",
        "--results_dir=results",
        "--parallel=5",  # one of each: none waits for another to end
        folder=tmp_path,
    )
    for check in (
        check_every_figure,
        check_columns,
        check_claims,
        check_rotations,
        check_drawn_again,
    ):
        check(tmp_path, out)


@pytest.mark.slow
def test_verdicts_from_the_command_line(tmp_path: Path) -> None:
    table(tmp_path)
    out = run_program("--verdicts", f"--results_dir={tmp_path}", folder=tmp_path)
    lines = out.splitlines()
    assert lines[0] == "C1: not run yet"
    assert lines[4] == "C5: supported"
    assert lines[5] == "C5b: supported"
    assert (tmp_path / "claims.json").exists()


def test_the_committed_verdicts_are_those_of_the_tables(tmp_path: Path) -> None:
    committed = ROOT / "docs" / "results"
    if not (committed / "claims.json").exists():
        assert not list(committed.glob("*/data.csv"))
        return
    for path in committed.glob("*/data.csv"):
        copy = tmp_path / path.parent.name / "data.csv"
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
    (tmp_path / "history.json").write_bytes((committed / "history.json").read_bytes())
    from_tables = rounds.write_verdicts(tmp_path)
    assert (tmp_path / "claims.json").read_text() == (
        committed / "claims.json"
    ).read_text()
    assert len(from_tables) == 16
