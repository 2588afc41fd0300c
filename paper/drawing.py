# SPDX-License-Identifier: Apache-2.0
"""What the drawn figures share: means with bands over networks, points, captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.samples import choose, levels
from paper.statistics import Row, mean_number
from tf_decomp.plots.style import CLASS_COLORS, CLASS_MARKERS, NOTE_COLOR

_LINES = ("-", "--", "-.", ":")


def draw_curve(
    axes: Axes,
    rows: Sequence[Row],
    along: str,
    y: str,
    label: str,
    index: int,
    x: str = "",
    sign: float = 1.0,
) -> None:
    """Draws means over networks, +-2 standard errors as a band, and every network.

    Args:
        axes: Where to draw.
        rows: Of one curve, one a network.
        along: The setting that tells its points apart.
        y: Column of the height.
        label: For the legend.
        index: Of the curve in its panel: its colour, marker and line.
        x: Column whose mean places a point; the setting itself by default.
        sign: What x is multiplied by.
    """
    color, marker = CLASS_COLORS[index], CLASS_MARKERS[index]
    places, means, errors = [], [], []
    for level in levels(choose(rows, y), along):
        cell = choose(rows, y, **{along: level})
        place = sign * float(np.mean([row[x] for row in cell])) if x else level
        number = mean_number("", (row[y] for row in cell))
        axes.plot(
            [sign * row[x] if x else level for row in cell],
            [row[y] for row in cell],
            linestyle="none",
            marker=marker,
            markersize=2.5,
            color=color,
            alpha=0.35,
        )
        places.append(place)
        means.append(number.value)
        errors.append(2 * number.standard_error if number.n > 1 else 0.0)
    order = np.argsort(places)
    xs, ys, halves = (np.array(v)[order] for v in (places, means, errors))
    axes.fill_between(xs, ys - halves, ys + halves, color=color, alpha=0.2, lw=0)
    axes.plot(
        xs,
        ys,
        color=color,
        marker=marker,
        markersize=4.5,
        linestyle=_LINES[index % len(_LINES)],
        label=label,
    )


def name_points(
    axes: Axes, rows: Sequence[Row], along: str, x: str, y: str, sign: float
) -> None:
    """Writes the setting beside the mean of each cell, as the paper's Figure 2 does.

    Args:
        axes: Where to write.
        rows: One a network.
        along: The setting.
        x: Column of the place.
        y: Column of the height.
        sign: What x is multiplied by.
    """
    for level in levels(choose(rows, y), along):
        cell = choose(rows, y, **{along: level})
        place = sign * np.mean([row[x] for row in cell])
        text = "\N{INFINITY}" if np.isinf(level) else f"{level:g}"
        height = np.mean([row[y] for row in cell])
        axes.annotate(
            text, (place, height), (3, 4), textcoords="offset points", fontsize=7
        )


def write_caption(figure: Figure, rows: Sequence[Row], text: str) -> None:
    """Writes the scale and what is seen below a figure.

    Args:
        figure: The figure.
        rows: Its table.
        text: What is seen.
    """
    scale = rows[0].get("scale", "") if rows else ""
    figure.supxlabel(f"Scale {scale}. {text}", fontsize=7, color=NOTE_COLOR)


def networks_a_cell(rows: Sequence[Row], *settings: str) -> str:
    """Gives the number of networks of a cell, as n = 3, or n = 2 to 3.

    Args:
        rows: One a network.
        *settings: Columns that make a cell.
    """
    cells: dict[tuple[object, ...], set[float]] = {}
    for row in rows:
        cell = tuple(row.get(setting) for setting in settings)
        cells.setdefault(cell, set()).add(row["seed"])
    sizes = sorted({len(seeds) for seeds in cells.values()} or {0})
    if len(sizes) == 1:
        return f"n = {sizes[0]} network{'s' if sizes[0] != 1 else ''} a point"
    return f"n = {sizes[0]} to {sizes[-1]} networks a point"
