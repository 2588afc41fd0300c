# SPDX-License-Identifier: Apache-2.0
"""q(z) and p(z) of one and two latent dimensions: grids, heat maps, histograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike
from scipy.special import ndtr

from tf_decomp.plots.arrays import spread_indices
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR

# (x0, x1, y0, y1): the first and last points of a grid along x and y.
Extent = tuple[float, float, float, float]

DENSITY_COLORS = "Blues"
# An estimate from samples says little about the region of 99 %.
ESTIMATED_MASSES: tuple[float, ...] = (0.5, 0.9)

_MOST_SUMMED = 20_000
_CONTOUR_WIDTHS = (1.6, 1.1, 0.7)
_BINS = 50


def pixel_extent(extent: Extent, shape: tuple[int, ...]) -> Extent:
    """Returns the outer edges of pixels whose centres are the grid's points.

    Args:
        extent: The first and last points of the grid.
        shape: (ny, nx) of the grid.
    """
    x0, x1, y0, y1 = extent
    dx, dy = (x1 - x0) / (shape[1] - 1) / 2, (y1 - y0) / (shape[0] - 1) / 2
    return x0 - dx, x1 + dx, y0 - dy, y1 + dy


def normal_shares(
    locs: np.ndarray, scales: ArrayLike, low: float, high: float, num_points: int
) -> np.ndarray:
    """Returns 1-d normal densities [k, num_points] at the points of a grid.

    A value is the mean over its pixel, so a normal far narrower than a pixel keeps its
    mass. As a diagonal normal is a product, `y.T @ x / k` of two such arrays is the
    density of a mixture of k of them on a 2-d grid; with equal scales that is a kernel
    density estimate. Of more than 20,000 normals, so many, evenly spread over the
    rows, are used.

    Args:
        locs: [n] means.
        scales: [n] standard deviations, or one for all.
        low: The first point of the grid.
        high: The last point of the grid.
        num_points: The number of points.
    """
    shown = spread_indices(len(locs), _MOST_SUMMED)
    spreads = np.broadcast_to(np.asarray(scales, np.float64), locs.shape)
    half = (high - low) / (num_points - 1) / 2
    edges = np.linspace(low - half, high + half, num_points + 1)
    below = ndtr((edges - locs[shown, None]) / spreads[shown, None])
    return np.diff(below, axis=1) / (2 * half)


def kernel_width(samples: np.ndarray) -> float:
    """Returns the standard deviation of the kernel for a 2-d density estimate.

    n^(-1/6) as Scott's rule has it, times 1.3 for smooth contours, times the smaller of
    the standard deviation and the interquartile range in units of a normal's, which
    keeps a spike sharp between long tails.

    Args:
        samples: [n] samples of one dimension.
    """
    lower, upper = np.quantile(samples, (0.25, 0.75))
    robust, deviation = (upper - lower) / 1.349, samples.std()
    spread = min(robust, deviation) if robust > 0 else deviation
    smallest = 1e-6 * max(1.0, np.abs(samples).max())
    return float(max(1.3 * spread * len(samples) ** (-1 / 6), smallest))


def pair_density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the density [ny, nx] of a mixture of products.

    Args:
        x: [k, nx] densities of the k components along x, as of `normal_shares`.
        y: [k, ny] those along y.
    """
    return y.T @ x / len(x)


def mixture_density(
    locs: np.ndarray, scales: ArrayLike, frame: Extent, num_points: int
) -> np.ndarray:
    """Returns the mean of diagonal normal densities on a square grid.

    Args:
        locs: [n, 2] means.
        scales: [n, 2] standard deviations, or [2] for all.
        frame: The first and last points of the grid.
        num_points: The number of points along x, and along y.
    """
    spreads = np.broadcast_to(scales, locs.shape)
    x = normal_shares(locs[:, 0], spreads[:, 0], *frame[:2], num_points)
    y = normal_shares(locs[:, 1], spreads[:, 1], *frame[2:], num_points)
    return pair_density(x, y)


def widen(low: Any, high: Any) -> tuple[Any, Any]:
    """Returns a range with a margin, into which the prior's 90 % contour fits, too.

    Args:
        low: Its lower end, or those of several.
        high: Its upper end, or those.
    """
    margin = 0.12 * (high - low)
    return low - margin, high + margin


def draw_density(axes: Axes, density: np.ndarray, frame: Extent) -> Patch:
    """Draws q(z) as a heat map; returns its entry for the legend.

    Args:
        axes: Where to draw.
        density: [ny, nx] q(z) at the points of a grid; row 0 has the lowest z_2.
        frame: The first and last points of the grid, and the limits of the axes.
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
    axes.set(xlim=frame[:2], ylim=frame[2:])
    return Patch(color=image.get_cmap()(0.7), label="q(z), darker is denser")


def draw_contours(
    axes: Axes,
    density: np.ndarray,
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


def draw_marginal(panel: Axes, codes: np.ndarray, samples: np.ndarray) -> None:
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
