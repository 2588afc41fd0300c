# SPDX-License-Identifier: Apache-2.0
"""The figures that are pictures: densities of q(z) (1 and 3), classes (5)."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.curves import networks_a_cell, write_caption
from paper.statistics import mean_number
from paper.table import Row, choose
from tf_decomp.experiment.choices import MIXTURE_LOCS
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.plots.classes import draw_magnitudes, interpolation_sheet
from tf_decomp.plots.densities import draw_contours, draw_density, mixture_density
from tf_decomp.plots.factors import draw_encodings
from tf_decomp.plots.sheets import draw_sheet
from tf_decomp.plots.style import STYLE

_FRAME = (-2.0, 2.0, -2.0, 2.0)
_POINTS = 121
_PIXEL_AREA = (4.0 / (_POINTS - 1)) ** 2
_MIXTURE_VARIANCE = ExperimentConfig().mixture_variance  # no figure changes it
_SHOWN_CLASSES = ("trouser", "dress", "shirt")
_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@mpl.rc_context(STYLE)
def draw_fig1(rows: Sequence[Row]) -> Figure:
    """Draws encodings above, q(z) against the prior below, a column each network.

    Args:
        rows: Of its table.
    """
    names = list(dict.fromkeys(row["panel"] for row in rows))
    figure = Figure(figsize=(2.5 * len(names) + 0.4, 6.2), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey=True)
    for (above, below), name in zip(panels.T, names, strict=True):
        mine = choose(rows, "kind", panel=name)
        means, deviations = _encodings(mine)
        if len(means):  # of a network that was chosen to be drawn
            draw_encodings(above, means, deviations, _FRAME)
            _draw_aggregate(below, means, deviations)
        above.set_title(
            f"{name}\n{_settings(mine)}\noverlap {_words(mine, 'overlap')}", fontsize=8
        )
        below.set_title(
            f"MMD {_words(mine, 'joint_mmd')}\n"
            f"KL(p || q) {_words(mine, 'inclusive_kl')} nats",
            fontsize=8,
        )
    panels[0, 0].set_ylabel("encodings q(z|x); $z_2$")
    panels[1, 0].set_ylabel("q(z); $z_2$")
    _finish(panels)
    networks = choose(rows, "overlap", kind="network")
    n = networks_a_cell(networks, "panel").replace("point", "column")
    text = (
        "Overlap: data that could have given a code (1: lookup table; 400: all). "
        "Grey: means of all codes; ellipses: 1 and 2 standard deviations of 25.\n"
        "Rings hold 50% and 90% of the prior. Drawn is the network of median MMD "
        f"(here). Numbers: mean {_PLUS_MINUS} standard error, {n}."
    )
    write_caption(figure, rows, text)
    return figure


@mpl.rc_context(STYLE)
def draw_fig3(rows: Sequence[Row]) -> Figure:
    """Draws q(z) for each alpha and beta, as the paper's Figure 3.

    Args:
        rows: Of its table.
    """
    lines = []
    for name in ("beta", "fresh", "alpha"):
        cells: dict[tuple[float, float], list[Row]] = {}
        for row in choose(rows, "kind", panel=name):
            cells.setdefault((row["alpha"], row["beta"]), []).append(row)
        if cells:
            lines.append([cells[cell] for cell in sorted(cells)])
    width = max(map(len, lines))
    figure = Figure(figsize=(2.4 * width + 0.3, 2.9 * len(lines) + 0.4))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(lines), width, squeeze=False, sharex=True, sharey=True)
    for beside, line in zip(panels, lines, strict=True):
        for panel, mine in zip(beside, line, strict=False):
            means, deviations = _encodings(mine)
            if len(means):
                _draw_aggregate(panel, means, deviations)
            panel.set_title(
                f"{_settings(mine)}"
                f"\noverlap {_words(mine, 'overlap')}"
                f"\nMMD {_words(mine, 'joint_mmd')}",
                fontsize=8,
            )
        for panel in beside[len(line) :]:
            panel.remove()
        beside[0].set_ylabel("$z_2$")
    _finish(panels)
    networks = choose(rows, "overlap", kind="network")
    n = networks_a_cell(networks, "panel", "alpha", "beta")
    text = (
        "q(z) of the network of median MMD (here) on its test set, darker by the "
        "square root of the density; rings hold 50% and 90% of the prior.\n"
        f"Numbers: mean {_PLUS_MINUS} standard error of overlap and joint MMD, {n}."
    )
    write_caption(figure, rows, text)
    return figure


@mpl.rc_context(STYLE)
def draw_fig5(rows: Sequence[Row]) -> Figure:
    """Draws mean |z_d| of three classes, and images along a dimension each.

    Of the network of median sparsity, with the paper's spike.

    Args:
        rows: Of its table.
    """
    rows = [row for row in rows if row.get("panel", "variance") == "variance"]
    networks = sorted(choose(rows, "hoyer", kind="network"), key=lambda r: r["hoyer"])
    seed = networks[(len(networks) - 1) // 2]["seed"] if networks else None
    rows = [row for row in rows if networks == [] or row["seed"] == seed]
    figure = Figure(figsize=(8.6, 11.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 2))
    panels = parts[0].subplots(3, 1, sharex=True, sharey=True)
    for panel, name in zip(panels, _SHOWN_CLASSES, strict=True):
        mine = sorted(
            choose(rows, "magnitude", **{"class": name}), key=lambda r: r["dimension"]
        )
        means, errors = (
            np.array([row[key] for row in mine])
            for key in ("magnitude", "magnitude_standard_error")
        )
        draw_magnitudes(panel, means, errors)
        panel.set_title(f"{name}, n = {int(mine[0]['n'])}")
        panel.set_ylabel("mean of $|z_d|$")
    panels[-1].set_xlabel("latent dimension d")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    _draw_frames(parts[1].subplots(), choose(rows, "pixels"))
    text = f"Above: bars {_PLUS_MINUS}2 standard errors."
    if networks:
        text += f" The network of median sparsity of {len(networks)}: seed {seed:g}."
    write_caption(figure, rows, text)
    return figure


def _draw_frames(axes: Axes, rows: Sequence[Row]) -> None:
    """Draws a column of images for each datum that is moved."""
    data: dict[float, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        data.setdefault(row["datum"], []).append(row)
    columns = [data[datum] for datum in dict.fromkeys(row["datum"] for row in rows)]
    images = np.array([[_image(row["pixels"]) for row in mine] for mine in columns])
    x, frames = images[:, 0], images[:, 1:]
    dimensions = [int(mine[0]["dimension"]) - 1 for mine in columns]
    classes = [mine[0]["class"] for mine in columns]
    draw_sheet(axes, interpolation_sheet(frames, dimensions, x, classes))


def _settings(rows: Sequence[Row]) -> str:
    """Names the settings, and the seed of the network that is drawn."""
    text = rf"$\alpha$ = {rows[0]['alpha']:g}, $\beta$ = {rows[0]['beta']:g}"
    drawn = choose(rows, "seed", kind="drawn")
    return text + (f" (seed {drawn[0]['seed']:g})" if drawn else "")


def _words(rows: Sequence[Row], column: str) -> str:
    """Returns the mean over networks, its standard error, and the drawn network's."""
    networks = choose(rows, column, kind="network")
    number = mean_number(column, (row[column] for row in networks))
    if number.n < 2:
        return f"{number.value:.3g}"
    error = number.standard_error
    decimals = max(0, -math.floor(math.log10(error))) if error > 0 else 3
    mean = f"{number.value:.{decimals}f} {_PLUS_MINUS} {error:.{decimals}f}"
    drawn = choose(rows, column, kind="drawn")
    return f"{mean} (here {drawn[0][column]:.3g})" if drawn else mean


def _encodings(rows: Sequence[Row]) -> np.ndarray:
    """Returns means and standard deviations [2, n, 2] of the network that has them."""
    columns = ("mean_1", "mean_2", "deviation_1", "deviation_2")
    points = [[row[name] for name in columns] for row in choose(rows, "mean_1")]
    return np.array(points).reshape(-1, 2, 2).swapaxes(0, 1)


def _draw_aggregate(axes: Axes, means: np.ndarray, deviations: np.ndarray) -> None:
    """Draws q(z) under the prior's rings."""
    density = mixture_density(means, deviations, _FRAME, _POINTS)
    outside = 1 - density.sum() * _PIXEL_AREA
    if outside > 0.02:
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        text = f"{outside:.0%} of q(z) outside"
        axes.text(-1.9, -1.9, text, fontsize=7, bbox=white)
    draw_density(axes, density, _FRAME)
    scale = _MIXTURE_VARIANCE**0.5
    prior = mixture_density(np.array(MIXTURE_LOCS, float), scale, _FRAME, _POINTS)
    draw_contours(axes, prior, _FRAME, (0.5, 0.9))


def _finish(panels: np.ndarray) -> None:
    """Returns all panels the frame, and names the horizontal axes."""
    for panel in panels.ravel():
        panel.set(xlim=_FRAME[:2], ylim=_FRAME[2:], aspect="equal")
    for panel in panels[-1]:
        panel.set_xlabel("$z_1$")


def _image(text: str) -> np.ndarray:
    """Returns a square image [side, side, 1] in [0, 1] of two digits a pixel."""
    values = np.frombuffer(bytes.fromhex(text), np.uint8) / 255
    side = int(len(values) ** 0.5)
    return values.reshape(side, side, 1)
