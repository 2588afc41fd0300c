# SPDX-License-Identifier: Apache-2.0
"""Trains a figure's networks in rounds and measures them, each once."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paper.figures import FIGURES, configure
from paper.measures import measure_encodings
from paper.table import COLUMNS, Row, count_networks
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_json
from tf_decomp.sweep import Run, grid_points, parse_grid, plan_runs, sweeps

# Gives the rows of one trained network, without its settings.
Measure = Callable[[RunFiles], Sequence[Row]]
# Settings of a network that are columns of its rows.
_SETTINGS = (
    *("prior", "df", "gamma", "spike_variance", "alpha", "beta", "seed"),
    *("epochs", "max_train_examples"),
)


def train_round(
    seeds: Mapping[str, int], scale: str, runs_dir: Path, parallel: int = 0
) -> dict[str, dict[str, list[Run]]]:
    """Trains all cells of some figures with one seed each; gives the runs by panel.

    So that rounds of rising seeds are balanced designs at any time. The runs are in
    RUNS_DIR/DATASET-SETTINGS/round-SEED/GRID, where SETTINGS stands for all that the
    figure's cells share; finished ones are not trained again, and figures of the same
    settings share them.

    Args:
        seeds: The round's seed by figure; figures without panels have no runs.
        scale: One of SCALES.
        runs_dir: Where runs are kept.
        parallel: Runs at once, 0 for the default.
    """
    folders: dict[tuple[str, str], Path] = {}
    plans = {}
    for figure, seed in seeds.items():
        for panel, grid in FIGURES[figure].scales[scale].panels.items():
            folder = _folder(figure, scale, seed, grid, runs_dir)
            settings = functools.partial(configure, figure, scale, folder)
            folders[figure, panel] = folder
            plans[folder] = f"{grid};seed={seed}", settings
    runs = sweeps(list(plans.values()), parallel=parallel) if plans else []
    trained = dict(zip(plans, runs, strict=True))
    panels: dict[str, dict[str, list[Run]]] = {figure: {} for figure in seeds}
    for (figure, panel), folder in folders.items():
        panels[figure][panel] = trained[folder]
    return panels


def measured_rows(
    panels: Mapping[str, Sequence[Run]],
    scale: str,
    measure: Measure,
    columns: Sequence[str],
) -> list[Row]:
    """Returns the rows of a figure's finished networks, by panel and cell.

    Args:
        panels: Of `train_round`.
        scale: One of SCALES.
        measure: Gives a network's rows.
        columns: Of the figure's table.
    """
    rows: list[Row] = []
    for panel, runs in panels.items():
        for run in runs:
            if run.status == "finished":
                cell = {"scale": scale, "panel": panel, **_settings(run)}
                cell = {k: v for k, v in cell.items() if k in columns}
                rows += [{**cell, **row} for row in _measured(run, measure)]
    return rows


def count_cells(figure: str, scale: str) -> int:
    """Returns the number of networks of a round.

    Args:
        figure: A key of FIGURES.
        scale: One of SCALES.
    """
    grids = FIGURES[figure].scales[scale].panels.values()
    return sum(len(list(grid_points(parse_grid(grid)))) for grid in grids)


def whole_rounds(rows: Sequence[Row], figure: str, scale: str) -> dict[int, list[Row]]:
    """Returns the rows of each planned seed that has all its cells.

    Args:
        rows: Of the figure's table.
        figure: A key of FIGURES, with panels.
        scale: One of SCALES.
    """
    rounds: dict[int, list[Row]] = {}
    for row in rows:
        rounds.setdefault(int(row["seed"]), []).append(row)
    cells = count_cells(figure, scale)
    return {
        seed: rounds[seed]
        for seed in FIGURES[figure].scales[scale].planned()
        if count_networks(rounds.get(seed, ())) == cells
    }


def with_drawn_networks(
    rows: Sequence[Row], figure: str, scale: str, runs_dir: Path
) -> list[Row]:
    """Adds the encodings of the networks that are drawn, one a cell.

    They are those whose MMD is nearest to the median of their cell (of even numbers the
    lower one). One whose run is not at hand is trained again.

    Args:
        rows: Of the figure's table.
        figure: A key of FIGURES; of others than the pinwheel's nothing is added.
        scale: One of SCALES.
        runs_dir: Where runs are kept.
    """
    if "mean_1" not in COLUMNS[figure]:
        return list(rows)
    networks = [row for row in rows if row.get("kind") == "network"]
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in networks:
        cells.setdefault((row["panel"], row["alpha"], row["beta"]), []).append(row)
    drawn: list[Row] = []
    missing = []
    for mine in cells.values():
        middle = np.quantile([row["joint_mmd"] for row in mine], 0.5, method="lower")
        chosen = min(mine, key=lambda row: abs(row["joint_mmd"] - middle))
        cell = {key: chosen[key] for key in ("panel", "alpha", "beta", "seed")}
        at_hand = [
            row
            for row in rows
            if row.get("kind") in ("drawn", "encoding") and cell.items() <= row.items()
        ]
        drawn += at_hand
        if not at_hand:
            missing.append(cell)
    return [*networks, *drawn, *_drawn_rows(missing, figure, scale, runs_dir)]


def _drawn_rows(
    cells: Sequence[Row], figure: str, scale: str, runs_dir: Path
) -> list[Row]:
    """Returns the rows of some networks' encodings; trains those not at hand."""
    found: list[tuple[str, Run]] = []
    plans = {}
    for cell in cells:
        panel, alpha, beta, seed = cell.values()
        grid = FIGURES[figure].scales[scale].panels[panel]
        folder = _folder(figure, scale, int(seed), grid, runs_dir)
        round_runs = plan_runs(
            parse_grid(f"{grid};seed={seed:g}"),
            functools.partial(configure, figure, scale, folder),
        )
        (run,) = (
            run
            for run in round_runs
            if (run.config.alpha, run.config.beta) == (alpha, beta)
        )
        if RunFiles(run.config.output_dir).metrics.exists():
            run.status = "finished"
            found.append((panel, run))
        else:
            point = f"alpha={alpha:g};beta={beta:g};seed={seed:g}"
            folder = runs_dir / _name(figure, scale) / "drawn" / point
            settings = functools.partial(configure, figure, scale, folder)
            plans[panel, point] = point, settings
    trained = sweeps(list(plans.values())) if plans else []
    found += [(panel, run) for (panel, _), (run,) in zip(plans, trained, strict=True)]
    return [
        row
        for panel, run in found
        for row in measured_rows(
            {panel: [run]}, scale, measure_encodings, COLUMNS[figure]
        )
    ]


def _folder(figure: str, scale: str, seed: int, grid: str, runs_dir: Path) -> Path:
    round_dir = runs_dir / _name(figure, scale) / f"round-{seed}"
    return round_dir / grid.replace(";", "_")


def _name(figure: str, scale: str) -> str:
    shared = configure(figure, scale, Path())
    digest = hashlib.sha256(shared.to_flags().encode()).hexdigest()[:8]
    return f"{shared.dataset}-{digest}"


def _settings(run: Run) -> dict[str, Any]:
    values = {name: getattr(run.config, name) for name in _SETTINGS}
    if run.config.prior != "student_t":
        values["df"] = None
    return values


def _measured(run: Run, measure: Measure) -> Sequence[Row]:
    """Measures a network, or reads what was measured since it was trained.

    Figures of the same measure share it.
    """
    files = RunFiles(run.config.output_dir)
    path = files.root / f"{measure.__name__}.json"
    rows = _kept(path, files.metrics.stat().st_mtime)
    if rows is None:
        write_json(path, measure(files))
        rows = json.loads(path.read_text(encoding="utf-8"))
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def _kept(path: Path, trained: float) -> list[Row] | None:
    """Returns what was measured since a time, if it can be read."""
    try:
        if path.stat().st_mtime < trained:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
