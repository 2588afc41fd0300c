# SPDX-License-Identifier: Apache-2.0
"""The figures that are pictures: densities of q(z) (1 and 3), classes (5)."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from paper.drawing import networks_a_cell, write_caption
from paper.samples import choose
from paper.statistics import Row, mean_number
from tf_decomp.experiment.build import MIXTURE_LOCS
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.plots.densities import mixture_density, pixel_extent
from tf_decomp.plots.densities_ import draw_contours
from tf_decomp.plots.style import CLASS_COLORS, DATA_COLOR, STYLE

_FRAME = (-2.0, 2.0, -2.0, 2.0)
_POINTS = 121
_PIXEL_AREA = (4.0 / (_POINTS - 1)) ** 2
_MIXTURE_VARIANCE = ExperimentConfig().mixture_variance  # no figure changes it
_ELLIPSES = 25
_SHOWN_CLASSES = ("trouser", "dress", "shirt")


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
        _draw_ellipses(above, means, deviations)
        _draw_aggregate(below, means, deviations)
        settings = rf"$\alpha$ = {mine[0]['alpha']:g}, $\beta$ = {mine[0]['beta']:g}"
        above.set_title(
            f"{name}\n{settings}{_seed(mine)}\noverlap {_words(mine, 'overlap')}",
            fontsize=8,
        )
        below.set_title(
            f"MMD {_words(mine, 'joint_mmd')}\n"
            f"KL(p || q) {_words(mine, 'inclusive_kl')} nats",
            fontsize=8,
        )
    panels[0, 0].set_ylabel("encodings q(z|x); $z_2$")
    panels[1, 0].set_ylabel("q(z); $z_2$")
    for panel in panels[1]:
        panel.set_xlabel("$z_1$")
    networks = choose(rows, "overlap", kind="network")
    n = networks_a_cell(networks, "panel").replace("point", "column")
    text = (
        "Overlap: data that could have given a code (1: lookup table; 400: all). "
        "Ellipses: 2 standard deviations of some encodings.\nRings hold 50% and 90% of "
        "the prior. Drawn is the network of median MMD (here). "
        f"Numbers: mean \N{PLUS-MINUS SIGN} standard error, {n}."
    )
    write_caption(figure, rows, text)
    return figure


@mpl.rc_context(STYLE)
def draw_fig3(rows: Sequence[Row]) -> Figure:
    """Draws q(z) for each alpha and beta, as the paper's Figure 3.

    Args:
        rows: Of its table.
    """
    names = ("beta", "fresh", "alpha")
    tops = [name for name in names if choose(rows, "kind", panel=name)]
    cells = {name: _cells(choose(rows, "kind", panel=name)) for name in tops}
    width = max(map(len, cells.values()))
    figure = Figure(figsize=(2.4 * width + 0.3, 2.9 * len(tops) + 0.4))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(tops), width, squeeze=False, sharex=True, sharey=True)
    for line, name in zip(panels, tops, strict=True):
        for panel, (alpha, beta) in zip(line, cells[name], strict=False):
            mine = choose(rows, "kind", panel=name, alpha=alpha, beta=beta)
            _draw_aggregate(panel, *_encodings(mine))
            panel.set_title(
                rf"$\alpha$ = {alpha:g}, $\beta$ = {beta:g}{_seed(mine)}"
                f"\noverlap {_words(mine, 'overlap')}"
                f"\nMMD {_words(mine, 'joint_mmd')}",
                fontsize=8,
            )
        for panel in line[len(cells[name]) :]:
            panel.remove()
        line[0].set_ylabel("$z_2$")
    for panel in panels[-1]:
        panel.set_xlabel("$z_1$")
    networks = choose(rows, "overlap", kind="network")
    n = networks_a_cell(networks, "panel", "alpha", "beta")
    text = (
        "q(z) of the network of median MMD (here) on its test set, dark where dense; "
        "rings hold 50% and 90% of the prior.\n"
        "Numbers: mean \N{PLUS-MINUS SIGN} standard error of overlap and joint MMD, "
        f"{n}."
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
    figure = Figure(figsize=(8.6, 9.0), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.6))
    upper, lower = parts
    panels = upper.subplots(3, 1, sharex=True, sharey=True)
    for index, (panel, name) in enumerate(zip(panels, _SHOWN_CLASSES, strict=True)):
        mine = choose(rows, "magnitude", **{"class": name})
        dimensions, means, errors = (
            [row[key] for row in mine]
            for key in ("dimension", "magnitude", "magnitude_standard_error")
        )
        panel.bar(
            dimensions,
            means,
            yerr=2 * np.array(errors),
            color=CLASS_COLORS[index],
            error_kw={"elinewidth": 0.8},
        )
        panel.set_title(f"{name}, n = {int(mine[0]['n'])}")
        panel.set_ylabel("mean of $|z_d|$")
    panels[-1].set_xlabel("latent dimension d")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    _draw_frames(lower, choose(rows, "pixels"))
    text = (
        "Above: bars \N{PLUS-MINUS SIGN}2 standard errors. Below: the datum, then "
        "decoded from $z_d$ to $z_d$ + sign($z_d$)."
    )
    if networks:
        text += f"\nThe network of median sparsity of {len(networks)}: seed {seed:g}."
    write_caption(figure, rows, text)
    return figure


def _draw_frames(figure: Any, frames: Sequence[Row]) -> None:
    """Draws a column of images for each datum that is moved."""
    data = list(dict.fromkeys(row["datum"] for row in frames))
    steps = sorted({row["step"] for row in frames})
    images = figure.subplots(len(steps), len(data), squeeze=False)
    for column, datum in zip(images.T, data, strict=True):
        for panel, step in zip(column, steps, strict=True):
            (row,) = choose(frames, "pixels", datum=datum, step=step)
            panel.imshow(_image(row["pixels"]), cmap="gray", vmin=0, vmax=255)
            panel.axis("off")
        column[0].set_title(f"{row['class']}\n$z_{{{row['dimension']:g}}}$", fontsize=8)


def _cells(rows: Sequence[Row]) -> list[tuple[float, float]]:
    return sorted({(row["alpha"], row["beta"]) for row in rows})


def _seed(rows: Sequence[Row]) -> str:
    """Names the seed of the drawn network."""
    drawn = choose(rows, "seed", kind="drawn")
    return f" (seed {drawn[0]['seed']:g})" if drawn else ""


def _words(rows: Sequence[Row], column: str) -> str:
    """Gives the mean over networks, its standard error, and the drawn network's."""
    networks = choose(rows, column, kind="network")
    number = mean_number(column, (row[column] for row in networks))
    if number.n < 2:
        return f"{number.value:.3g}"
    error = number.standard_error
    decimals = max(0, -math.floor(math.log10(error))) if error > 0 else 3
    mean = f"{number.value:.{decimals}f} \N{PLUS-MINUS SIGN} {error:.{decimals}f}"
    drawn = choose(rows, column, kind="drawn")
    return f"{mean} (here {drawn[0][column]:.3g})" if drawn else mean


def _encodings(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Gives means and standard deviations [n, 2] of the network that has them."""
    points = choose(rows, "mean_1")
    columns = (("mean_1", "mean_2"), ("deviation_1", "deviation_2"))
    first, second = (
        np.array([[row[name] for name in pair] for row in points]).reshape(-1, 2)
        for pair in columns
    )
    return first, second


def _draw_aggregate(axes: Axes, means: np.ndarray, deviations: np.ndarray) -> None:
    axes.set(xlim=_FRAME[:2], ylim=_FRAME[2:], aspect="equal")
    if not len(means):  # drawn after the last round
        return
    density = mixture_density(means, deviations, _FRAME, _POINTS)
    outside = 1 - density.sum() * _PIXEL_AREA
    if outside > 0.02:
        axes.text(-1.9, -1.9, f"{outside:.0%} of q(z) outside", fontsize=7)
    axes.imshow(
        density,
        origin="lower",
        extent=pixel_extent(_FRAME, density.shape),
        cmap="Blues",
        vmin=0.0,
    )
    modes = np.array(MIXTURE_LOCS, float)
    prior = mixture_density(
        modes, np.full_like(modes, _MIXTURE_VARIANCE**0.5), _FRAME, _POINTS
    )
    draw_contours(axes, prior, _FRAME, (0.5, 0.9))


def _draw_ellipses(axes: Axes, means: np.ndarray, deviations: np.ndarray) -> None:
    """Draws the means, and two standard deviations of some encodings."""
    axes.plot(*means.T, linestyle="none", marker=".", markersize=2, color="black")
    for index in range(0, len(means), max(1, len(means) // _ELLIPSES)):
        width, height = 4 * deviations[index]
        axes.add_patch(
            Ellipse(means[index], width, height, color=DATA_COLOR, alpha=0.25)
        )
    axes.set(xlim=_FRAME[:2], ylim=_FRAME[2:], aspect="equal")


def _image(text: str) -> np.ndarray:
    values = np.frombuffer(bytes.fromhex(text), np.uint8)
    side = int(len(values) ** 0.5)
    return values.reshape(side, side)
