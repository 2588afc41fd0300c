# SPDX-License-Identifier: Apache-2.0
"""From a figure's name to its files in docs/results."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from paper.completeness import read_table
from paper.curves import (
    draw_estimators,
    draw_fig2,
    draw_fig4,
    draw_learning,
    draw_theory,
)
from paper.densities import draw_fig1, draw_fig3, draw_fig5
from paper.estimators import estimator_rows
from paper.figures import FIGURES, SCALES, settings_text
from paper.measures import (
    measure_classes,
    measure_clusters,
    measure_disentanglement,
    measure_match,
    measure_sparsity,
)
from paper.readme import readme_text
from paper.runs import (
    Measure,
    measured_rows,
    train_round,
    whole_rounds,
    with_drawn_networks,
)
from paper.structure_drawings import draw_hierarchy, draw_subspaces
from paper.structures import measure_hierarchy, measure_subspaces
from paper.table import COLUMNS, Row, read_rows, read_text, write_rows
from paper.theorems import theorem_rows
from paper.verdicts import write_verdicts
from tf_decomp.checks import check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.files import write_text
from tf_decomp.plots import save_figure

# Gives the rows of a round from a scale and a seed, without networks of `runs`.
_Compute = Callable[[str, int], list[Row]]
_Draw = Callable[[Sequence[Row]], Figure]
# How each figure's rows come about, and how they are drawn.
_TRAINED: dict[str, tuple[Measure, _Draw]] = {
    "fig1": (measure_clusters, draw_fig1),
    "fig2": (measure_disentanglement, draw_fig2),
    "fig3": (measure_clusters, draw_fig3),
    "fig4": (measure_sparsity, draw_fig4),
    "fig5": (measure_classes, draw_fig5),
    "fig2_pilots": (measure_disentanglement, draw_fig2),
    "fig3_top": (measure_clusters, draw_fig3),
    "fig2_learning": (
        measure_disentanglement,
        partial(draw_learning, score="factor_vae_score"),
    ),
    "fig3_learning": (measure_match, partial(draw_learning, score="inclusive_kl")),
    "fig4_learning": (measure_sparsity, partial(draw_learning, score="hoyer")),
    "subspaces": (measure_subspaces, draw_subspaces),
    "hierarchy": (measure_hierarchy, draw_hierarchy),
}
_COMPUTED: dict[str, tuple[_Compute, _Draw]] = {
    "theory": (theorem_rows, draw_theory),
    "estimators": (estimator_rows, draw_estimators),
}


def reproduce(
    figure: str,
    scale: str,
    results_dir: Path,
    runs_dir: Path,
    seeds: int = 0,
    parallel: int = 0,
) -> None:
    """Trains what is missing of a figure and writes its files after every round.

    A round is every cell with one more seed, of all figures asked for. The same call
    continues: whole rounds in data.csv are not trained again while config.flags beside
    it is as it would be now. Where single networks are drawn, they are those nearest to
    the median of their cell after the last round.

    Args:
        figure: A key of FIGURES, or `all`.
        scale: One of SCALES.
        results_dir: Gets FIGURE/ and claims.json.
        runs_dir: Where runs are kept.
        seeds: How many rounds; 0 for the planned number.
        parallel: Runs at once; 0 for the number of cores.

    Raises:
        InputError: A name is not known, a number is negative, a table is damaged, more
            rounds are asked for than were planned,
            results of a larger scale are in the way, or no network finished.
        OSError: A folder cannot be written.

    Example:
        >>> reproduce("fig3", "cpu", Path("docs/results"), Path("runs/reproduce"))
    """
    names = _names(figure, scale)
    check_whole_number("seeds", seeds, 0)
    check_whole_number("parallel", parallel, 0)
    planned = {name: _planned(name, scale, seeds) for name in names}
    for name in names:
        _refuse_smaller(results_dir, name, scale)
    for name in [n for n in FIGURES if n not in names]:  # the verdicts need them
        read_table(results_dir, name)
    earlier = {name: _rounds_at_hand(results_dir / name, name, scale) for name in names}
    rows: dict[str, list[Row]] = {name: [] for name in names}
    left, done = sum(len(planned[n]) - len(earlier[n]) for n in names), 0
    start = time.monotonic()
    for index in range(max(map(len, planned.values()))):
        asked = {n: seeds[index] for n, seeds in planned.items() if index < len(seeds)}
        missing = {n: seed for n, seed in asked.items() if seed not in earlier[n]}
        if missing:
            each = ", ".join(f"{name} seed {seed}" for name, seed in missing.items())
            words = f"{left} round{'s' if left != 1 else ''} left"
            if done:
                hours = (time.monotonic() - start) / 3600 * left / done
                words += f", about {hours:.1f} hours"
            print(f"scale {scale}: {each}; {words}", flush=True)
        new = _round(missing, scale, runs_dir, parallel)
        for name, seed in asked.items():
            rows[name] += new[name] if name in new else earlier[name][seed]
        for name, seed in missing.items():
            if not rows[name]:
                raise InputError(
                    f"{name}: no network of seed {seed} finished; read the lines above"
                )
            _write_table(results_dir / name, name, scale, rows[name])
            redraw(name, scale, results_dir)
        done, left = done + len(missing), left - len(missing)
    for name in names:
        drawn = with_drawn_networks(rows[name], name, scale, runs_dir)
        if drawn != rows[name]:
            _write_table(results_dir / name, name, scale, drawn)
            redraw(name, scale, results_dir)


def redraw(figure: str, scale: str, results_dir: Path) -> None:
    """Writes figure, README, config.flags and claims.json from the table alone.

    Args:
        figure: A key of FIGURES, or `all`.
        scale: That the tables must have.
        results_dir: Holds FIGURE/data.csv.

    Raises:
        InputError: A name is not known, or there is no whole table of that scale and
            its settings.

    Example:
        >>> redraw("fig3", "cpu", Path("docs/results"))
    """
    names = _names(figure, scale)
    for name in names:
        table = results_dir / name / "data.csv"
        rows = read_table(results_dir, name)
        found = rows[0].get("scale") if rows else None
        if found != scale:
            raise InputError(
                f"{table}: expected results of scale {scale}; found {found}; run "
                f"--figure={name} --scale={scale} without --plot_only first"
            )
        settings = settings_text(name, scale)
        then = read_text(table.with_name("config.flags"))
        if then and _without_words(then) != _without_words(settings):
            raise InputError(
                f"{table}: expected results of the settings of scale {scale}; "
                f"config.flags beside it has others; run --figure={name} "
                f"--scale={scale} without --plot_only"
            )
        _, draw = _TRAINED[name] if name in _TRAINED else _COMPUTED[name]
        drawing = draw(rows)
        for ending in ("png", "svg"):
            save_figure(drawing, table.with_name(f"figure.{ending}"))
            drawing.set_layout_engine("none")  # laid out once, for both
        write_text(table.with_name("config.flags"), settings)
    claims = write_verdicts(results_dir)
    shared = [claim["figures"] for claim in claims if {*names} & {*claim["figures"]}]
    for name in dict.fromkeys([*names, *(name for each in shared for name in each)]):
        folder = results_dir / name
        rows = read_table(results_dir, name)
        if not rows:  # of a claim of two figures, the one that is to come
            continue
        mine = [claim for claim in claims if name in claim["figures"]]
        notes = read_text(folder / "notes.md")
        readme = readme_text(name, rows[0]["scale"], rows, mine, notes)
        write_text(folder / "README.md", readme)


def _planned(name: str, scale: str, seeds: int) -> range:
    """Returns the seeds of a figure's rounds, of all or of the first ones."""
    planned = FIGURES[name].scales[scale].planned()
    if seeds > len(planned):
        raise InputError(
            f"{name}: {len(planned)} networks a cell are planned at scale {scale}; "
            f"received --seeds={seeds}; verdicts are on planned networks alone, so "
            "explore with bin/sweep.py instead"
        )
    return planned[: seeds or None]


def _round(
    seeds: Mapping[str, int], scale: str, runs_dir: Path, parallel: int
) -> dict[str, list[Row]]:
    """Returns the rows of a round by figure; networks of all figures train together."""
    trained = train_round(seeds, scale, runs_dir, parallel)
    rows = {}
    for name, seed in seeds.items():
        if name in _COMPUTED:
            rows[name] = _COMPUTED[name][0](scale, seed)
        else:
            measure, columns = _TRAINED[name][0], COLUMNS[name]
            rows[name] = measured_rows(trained[name], scale, measure, columns)
    return rows


def _write_table(folder: Path, name: str, scale: str, rows: Sequence[Row]) -> None:
    """Writes a figure's table, then its settings."""
    write_rows(folder / "data.csv", name, rows)
    write_text(folder / "config.flags", settings_text(name, scale))


def _rounds_at_hand(folder: Path, name: str, scale: str) -> dict[int, list[Row]]:
    """Returns data.csv's whole rounds, by seed, if of the settings of today."""
    settings = folder / "config.flags"
    if name in _COMPUTED or not settings.exists():
        return {}
    then = read_text(settings)
    if _without_words(then) != _without_words(settings_text(name, scale)):
        return {}
    return whole_rounds(read_rows(folder / "data.csv", name), name, scale)


def _without_words(settings: str) -> list[str]:
    """Leaves out the title, and how many seeds are planned."""
    return [re.sub(";seed=.*", "", line) for line in settings.splitlines()[1:]]


def _names(figure: str, scale: str) -> list[str]:
    if figure not in (*FIGURES, "all") or scale not in SCALES:
        raise InputError(
            f"expected --figure={'|'.join(FIGURES)}|all and --scale="
            f"{'|'.join(SCALES)}; received {figure!r} and {scale!r}"
        )
    return list(FIGURES) if figure == "all" else [figure]


def _refuse_smaller(results_dir: Path, name: str, scale: str) -> None:
    """Refuses to replace results of a larger scale by those of a smaller one."""
    table = results_dir / name / "data.csv"
    rows = read_rows(table, name)
    found = rows[0].get("scale", SCALES[0]) if rows else SCALES[0]
    if found not in SCALES:
        raise InputError(f"{table}: has the unknown scale {found!r}; restore it")
    if SCALES.index(found) > SCALES.index(scale):
        raise InputError(
            f"{table}: holds results of scale {found}, larger than {scale}; choose "
            "another --results_dir"
        )
