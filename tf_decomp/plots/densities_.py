# SPDX-License-Identifier: Apache-2.0
"""Panels of q(z) and p(z): heat maps, contours and histograms."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tf_decomp.plots.checks import FloatArray
from tf_decomp.plots.densities import Extent, pixel_extent
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR

DENSITY_COLORS = "Blues"
# An estimate from samples says little about the region of 99 %.
ESTIMATED_MASSES: tuple[float, ...] = (0.5, 0.9)

_CONTOUR_WIDTHS = (1.6, 1.1, 0.7)
_BINS = 50


def widen(low: float, high: float) -> tuple[float, float]:
    """Returns a range with a margin, into which the prior's 90 % contour fits, too.

    Args:
        low: Its lower end.
        high: Its upper end.
    """
    margin = 0.12 * (high - low)
    return low - margin, high + margin


def draw_contours(
    axes: Axes,
    density: FloatArray,
    extent: Extent,
    masses: Sequence[float] = (0.5, 0.9, 0.99),
) -> Line2D:
    """Draws the prior's contours; returns their entry for the legend.

    They are the borders of the regions of highest density that hold the given masses,
    by a sum over the grid; a region that does not fit the frame is left out.

    Args:
        axes: Where to draw.
        density: [ny, nx] p(z) at the points of a grid.
        extent: The first and last points of the grid.
        masses: At most three, ascending.
    """
    falling = np.sort(density, axis=None)[::-1]
    x0, x1, y0, y1 = pixel_extent(extent, density.shape)
    mass = np.cumsum(falling) * (x1 - x0) * (y1 - y0) / density.size
    border = max(edge.max() for edge in (*density[[0, -1]], *density[:, [0, -1]].T))
    levels: dict[float, tuple[float, float]] = {}  # level -> mass inside, line width
    for inside, width in zip(masses, _CONTOUR_WIDTHS, strict=False):
        index = int(np.searchsorted(mass, inside))
        # A level below the border's would cut off a region that goes on outside.
        if index < len(falling) and border < falling[index] < falling[0]:
            levels[float(falling[index])] = (inside, width)
    if levels:
        rising = sorted(levels)
        axes.contour(
            np.linspace(*extent[:2], density.shape[1]),
            np.linspace(*extent[2:], density.shape[0]),
            density,
            levels=rising,
            colors=MODEL_COLOR,
            zorder=3,  # above the points
            linewidths=[levels[level][1] for level in rising],
        )
    shown = ", ".join(f"{100 * inside:.0f}" for inside, _ in levels.values())
    label = f"around {shown} % of its mass" if levels else "none in this frame"
    return Line2D([], [], color=MODEL_COLOR, label=f"prior p(z), contours {label}")


def draw_density(axes: Axes, density: FloatArray, frame: Extent) -> Patch:
    """Draws q(z) as a heat map; returns its entry for the legend.

    Args:
        axes: Where to draw.
        density: [ny, nx] q(z) at the points of a grid.
        frame: The first and last points of the grid.
    """
    image = axes.imshow(
        density,
        origin="lower",
        extent=pixel_extent(frame, density.shape),
        cmap=DENSITY_COLORS,
        # The square root keeps what is spread out visible beside a spike.
        norm=PowerNorm(0.5, vmin=0.0, vmax=max(density.max(), np.finfo(float).tiny)),
        interpolation="nearest",
        aspect="auto",
    )
    return Patch(color=image.get_cmap()(0.7), label="q(z), darker is denser")


def draw_marginal(panel: Axes, codes: FloatArray, samples: FloatArray) -> None:
    """Draws the two histograms of one dimension over the same bins.

    The panel holds the quantiles 0.005 to 0.995 of both; a histogram integrates to
    the share of the samples inside.

    Args:
        panel: Where to draw; its horizontal limits are set.
        codes: [n] samples of q(z_d).
        samples: [m] samples of p(z_d).
    """
    ends = np.stack(
        [np.quantile(values, (0.005, 0.995)) for values in (codes, samples)]
    )
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if high - low < 1e-6 * max(1.0, abs(low)):  # constant: give the bins a width
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    for values, label, color, fill in (
        (codes, f"q(z), aggregate posterior, n = {len(codes)}", DATA_COLOR, True),
        (samples, f"p(z), prior, n = {len(samples)}", MODEL_COLOR, False),
    ):
        counts, _ = np.histogram(values, edges)
        panel.stairs(
            counts / (len(values) * np.diff(edges)),
            edges,
            color=color,
            fill=fill,
            alpha=0.45 if fill else 1.0,
            linewidth=1.2,
            label=label,
        )
    panel.set_xlim(low, high)
