# SPDX-License-Identifier: Apache-2.0
"""The figures of priors with structure: overlap, match, and what the groups hold."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from paper.curves import networks_a_cell, write_caption
from paper.statistics import mean_number
from paper.table import Row, choose
from tf_decomp.metrics.regularisation import MISMATCHED_MMD_SHARE
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR, NOTE_COLOR, STYLE

_LOOKS = {
    "normal": ("normal prior", DATA_COLOR, "o"),
    "independent_subspaces": ("independent planes", MODEL_COLOR, "s"),
    "hierarchical": ("hierarchical prior", MODEL_COLOR, "s"),
}
_BESIDE = 0.16  # of a column's place, to both sides


def draw_subspaces(rows: Sequence[Row]) -> Figure:
    """Draws the two factors, and how well planes, axes and pairs tell the position.

    Args:
        rows: Of its table.
    """
    columns = {
        "plane": "best of the\nprior's planes",
        "plane_any": "best of any\nthree planes",
        "pair": "best pair",
        "axis": "best axis",
    }
    label = "$R^2$ of position (x, y), held out"
    text = (
        "Any three planes: the mean over all 15 ways to part six dimensions in pairs. "
        "20 nearest neighbours within the group."
    )
    return _draw(rows, columns, ("Position", label), text)


def draw_hierarchy(rows: Sequence[Row]) -> Figure:
    """Draws the two factors, and how well the groups tell the class.

    Args:
        rows: Of its table.
    """
    columns = {
        "class_accuracy": "class group\n(dimensions 1-4)",
        "style_accuracy": "style group\n(dimensions 5-8)",
        "both_accuracy": "both",
    }
    text = (
        "Under the hierarchical prior the style group depends on the class group; "
        "labels enter no training. 20 nearest neighbours within the group."
    )
    return _draw(rows, columns, ("Classes", "accuracy of labels, held out"), text)


@mpl.rc_context(STYLE)
def _draw(
    rows: Sequence[Row], columns: Mapping[str, str], words: tuple[str, str], text: str
) -> Figure:
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    overlap, match, structure = figure.subplots(1, 3, width_ratios=(1, 1, 2.4))
    priors = [prior for prior in _LOOKS if choose(rows, "overlap", prior=prior)]
    means = []
    for index, prior in enumerate(priors):
        mine = choose(rows, "overlap", prior=prior)
        side = _BESIDE * (2 * index - len(priors) + 1)
        for panel, column in ((overlap, "overlap"), (match, "joint_mmd_share")):
            _draw_column(panel, side, mine, column, prior)
        for place, column in enumerate(columns):
            bars = _draw_column(structure, place + side, mine, column, prior)
        means.append(bars)
    limit = match.axhline(
        MISMATCHED_MMD_SHARE, color=NOTE_COLOR, linestyle="--", label="limit of a match"
    )
    chance = float(np.mean([row["chance"] for row in rows]))
    line = structure.axhline(chance, color=NOTE_COLOR, linestyle=":", label="chance")
    structure.set_xticks(range(len(columns)), list(columns.values()))
    structure.set_xlim(-0.5, len(columns) - 0.5)
    structure.set(title=words[0], ylabel=words[1])
    overlap.set(title="Overlap", ylabel="overlap of encodings, data")
    overlap.set_ylim(bottom=1)
    match.set(title="Match", ylabel="joint MMD of q(z) and p(z), share")
    match.set_ylim(bottom=min(0.0, match.get_ylim()[0]))
    for panel in (overlap, match):
        panel.set_xticks([])
        panel.set_xlim(-0.5, 0.5)
    for panel in (overlap, match, structure):
        panel.grid(True, axis="y")
    handles = [*means, limit, line]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    two = "\N{PLUS-MINUS SIGN}2"
    errors = f"Bars: means {two} standard errors; small points: networks"
    n = networks_a_cell(rows, "prior")
    write_caption(figure, rows, f"{errors}; {n}. Overlap: 1 is a lookup table.\n{text}")
    return figure


def _draw_column(
    axes: Axes, place: float, rows: Sequence[Row], column: str, prior: str
) -> ErrorbarContainer:
    """Draws every network, and beside them their mean and two standard errors."""
    name, color, marker = _LOOKS[prior]
    values = [row[column] for row in rows]
    number = mean_number("", values)
    error = 2 * number.standard_error if number.n > 1 else 0.0
    axes.plot(
        np.full(len(values), place - _BESIDE / 3),
        values,
        linestyle="none",
        marker=marker,
        markersize=3,
        alpha=0.4,
        color=color,
    )
    return axes.errorbar(
        place + _BESIDE / 3,
        number.value,
        error,
        marker=marker,
        markersize=5,
        color=color,
        linestyle="none",
        capsize=3,
        label=name,
    )
