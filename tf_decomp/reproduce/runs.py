# SPDX-License-Identifier: Apache-2.0
"""Trains a figure's networks in rounds and measures them, each once."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.reproduce.definitions import FIGURES, configure
from tf_decomp.reproduce.statistics import Row
from tf_decomp.run_files import RunFiles, write_json
from tf_decomp.sweep import Run, grid_points, parse_grid, sweeps

# Gives the rows of one trained network, without its settings.
Measure = Callable[[RunFiles], Sequence[Row]]
# Settings of a network that are columns of its rows.
_SETTINGS = (
    *("prior", "df", "gamma", "spike_variance", "alpha", "beta", "seed"),
    *("epochs", "max_train_examples"),
)


def train_round(
    figures: Sequence[str], scale: str, seed: int, runs_dir: Path, parallel: int = 0
) -> dict[str, dict[str, list[Run]]]:
    """Trains all cells of some figures with one seed; gives the runs by panel.

    So that rounds of rising seeds are balanced designs at any time. The runs are in
    RUNS_DIR/DATASET-SETTINGS/round-SEED/GRID, where SETTINGS stands for all that the
    figure's cells share; finished ones are not trained again, and figures of the same
    settings share them.

    Args:
        figures: Keys of FIGURES; those without panels have no runs.
        scale: One of SCALES.
        seed: Of the round.
        runs_dir: Where runs are kept.
        parallel: Runs at once, 0 for the default.
    """
    folders: dict[tuple[str, str], Path] = {}
    plans = {}
    for figure in figures:
        for panel, grid in FIGURES[figure].scales[scale].panels.items():
            folder = runs_dir / _name(figure, scale) / f"round-{seed}"
            folder /= grid.replace(";", "_")
            settings = functools.partial(configure, figure, scale, folder)
            folders[figure, panel] = folder
            plans[folder] = f"{grid};seed={seed}", settings
    runs = sweeps(list(plans.values()), parallel=parallel) if plans else []
    trained = dict(zip(plans, runs, strict=True))
    panels: dict[str, dict[str, list[Run]]] = {figure: {} for figure in figures}
    for (figure, panel), folder in folders.items():
        panels[figure][panel] = trained[folder]
    return panels


def measured_rows(
    panels: Mapping[str, Sequence[Run]],
    scale: str,
    measure: Measure,
    columns: Sequence[str],
) -> list[Row]:
    """Gives the rows of a figure's finished networks, by panel and cell.

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
    """Gives the number of networks of a round.

    Args:
        figure: A key of FIGURES.
        scale: One of SCALES.
    """
    grids = FIGURES[figure].scales[scale].panels.values()
    return sum(len(list(grid_points(parse_grid(grid)))) for grid in grids)


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
    trained = files.metrics.stat().st_mtime
    if not path.exists() or path.stat().st_mtime < trained:
        write_json(path, measure(files))
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [{k: v for k, v in row.items() if v is not None} for row in rows]
