# SPDX-License-Identifier: Apache-2.0
"""Reconstructions and generated samples, for images, 2-d points and other vectors."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tf_decomp.plots.arrays import describe_count, spread_indices
from tf_decomp.plots.sheets import columns_for, draw_sheets, make_sheet
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR, NOTE_COLOR, STYLE

_SHEET_WIDTH = 1050
_HALF_SHEET_WIDTH = 700
_PAIR_ROWS = 2
_MOST_PAIRS = 400
_MOST_POINTS = 2000
_MOST_VECTOR_PAIRS = 6
_MOST_LINES = 10
_MOST_MARKED = 30  # longer vectors are drawn as lines without markers


@mpl.rc_context(STYLE)
def reconstructions(x: np.ndarray, means: np.ndarray, title: str) -> Figure:
    """Draws data and their reconstructions.

    Images: pairs of rows, data above, reconstruction below, of the first examples.
    Points [n, 2]: a scatter plot in which a line links each pair (at most 400 pairs,
    evenly spread over the rows). Other vectors: lines over the dimensions, one panel
    for each of the first six examples.

    Args:
        x: [n, height, width, channels] images in [0, 1], or [n, data_dim] vectors.
        means: The likelihood's means for the same examples, of the same shape.
        title: The heading.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(100, 2))
        >>> figure = reconstructions(x, 0.9 * x, "a good model")
    """
    if x.ndim == 4:
        return _image_pairs(x, means, title)
    if x.shape[1] == 2:
        return _point_pairs(x, means, title)
    return _vector_pairs(x, means, title)


@mpl.rc_context(STYLE)
def samples(generated: np.ndarray, x: np.ndarray, title: str) -> Figure:
    """Draws generated data beside real data.

    Images: a sheet of the first ones. Points [n, 2]: scatter plots (at most 2,000
    points, evenly spread over the rows) with common axes. Other vectors: the first
    ten, as lines over the dimensions, with common axes.

    Args:
        generated: [n, height, width, channels] images in [0, 1], or [n, data_dim]
            vectors.
        x: [m, ...] data to compare with, of the same shape but for the number.
        title: The heading.

    Example:
        >>> generated, x = np.random.default_rng(0).normal(size=(2, 100, 2))
        >>> figure = samples(generated, x, "a normal prior")
    """
    groups = {"generated": generated, "data": x}
    if x.ndim == 4:
        return _image_samples(groups, title)
    return _vector_samples(groups, title)


def _image_pairs(x: np.ndarray, means: np.ndarray, title: str) -> Figure:
    """Draws rows of images, each above the row of its reconstructions."""
    columns = min(len(x), columns_for(x.shape[2], _SHEET_WIDTH))
    shown = min(len(x), columns * _PAIR_ROWS)
    blank = np.ones((-shown % columns, *x.shape[1:]))
    rows = [
        np.concatenate([images[:shown], blank]).reshape(-1, columns, *x.shape[1:])
        for images in (x, means)
    ]
    pairs = len(rows[0])
    sheet = make_sheet(
        np.concatenate(rows, axis=1).reshape(-1, *x.shape[1:]),
        columns,
        title,
        row_labels=["data", "reconstruction"] * pairs,
        wide_gaps=range(2, 2 * pairs, 2),
    )
    return draw_sheets([sheet])


def _image_samples(groups: dict[str, np.ndarray], title: str) -> Figure:
    """Draws one sheet of images for each group."""
    sheets = []
    for name, group in groups.items():
        columns = columns_for(group.shape[2], _HALF_SHEET_WIDTH)
        shown = min(len(group), columns**2)
        heading = f"{name.capitalize()}, {describe_count(shown, len(group))}"
        if group.shape[-1] not in (1, 3):
            heading += f" (channel 1 of {group.shape[-1]})"
        sheets.append(make_sheet(group[:shown], min(shown, columns), heading))
    return draw_sheets(sheets, title)


def _point_pairs(x: np.ndarray, means: np.ndarray, title: str) -> Figure:
    """Draws points, their reconstructions, and lines that link them."""
    shown = spread_indices(len(x), _MOST_PAIRS)
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.add_collection(
        LineCollection(
            list(np.stack([x[shown], means[shown]], axis=1)),
            colors=NOTE_COLOR,
            linewidths=0.5,
        )
    )
    _scatter(axes, x[shown], "data")
    _scatter(axes, means[shown], "reconstruction")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _vector_samples(groups: dict[str, np.ndarray], title: str) -> Figure:
    """Draws points or lines, a panel for each group, with common axes."""
    figure = Figure(figsize=(4.2 * len(groups), 4.2), layout="constrained")
    panels = figure.subplots(
        1, len(groups), squeeze=False, sharex=True, sharey=True
    ).ravel()
    for panel, (name, group) in zip(panels, groups.items(), strict=True):
        if group.shape[1] == 2:
            shown = group[spread_indices(len(group), _MOST_POINTS)]
            _scatter(panel, shown, name)
        else:
            shown = group[:_MOST_LINES]
            for vector in shown:
                _draw_vector(panel, vector, name)
        panel.set_title(
            f"{name.capitalize()}, {describe_count(len(shown), len(group))}"
        )
        panel.label_outer()
    figure.suptitle(title)
    return figure


def _scatter(axes: Axes, points: np.ndarray, name: str) -> None:
    """Draws 2-d points; data and model differ in colour and marker."""
    is_data = name == "data"
    axes.plot(
        points[:, 0],
        points[:, 1],
        linestyle="none",
        marker="o" if is_data else "^",
        markersize=3.5,
        color=DATA_COLOR if is_data else MODEL_COLOR,
        markeredgecolor="white",
        markeredgewidth=0.3,
        label=name,
    )
    axes.set(aspect="equal", xlabel="data dimension 1", ylabel="data dimension 2")
    axes.grid(True)


def _vector_pairs(x: np.ndarray, means: np.ndarray, title: str) -> Figure:
    """Draws the first vectors and their reconstructions, a panel for each."""
    shown = min(_MOST_VECTOR_PAIRS, len(x))
    width, height = min(shown, 3), -(-shown // 3)
    figure = Figure(figsize=(3.1 * width, 2.0 * height + 0.7), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False, sharey=True).ravel()
    for index, panel in enumerate(panels[:shown]):
        _draw_vector(panel, x[index], "data")
        _draw_vector(panel, means[index], "reconstruction")
        panel.set_title(f"example {index + 1}")
        if index % width:
            panel.set_ylabel("")
    for panel in panels[shown:]:
        panel.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)
    figure.suptitle(title)
    return figure


def _draw_vector(axes: Axes, vector: np.ndarray, name: str) -> None:
    """Draws a vector over its dimensions; data and model differ in more than colour."""
    is_data = name == "data"
    axes.plot(
        np.arange(1, len(vector) + 1),
        vector,
        color=DATA_COLOR if is_data else MODEL_COLOR,
        linestyle="-" if is_data else "--",
        linewidth=1.0,
        marker="o" if is_data else "^",
        markersize=3.5 if len(vector) <= _MOST_MARKED else 0,
        label=name,
    )
    axes.set(xlabel="data dimension", ylabel="value")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(True)
