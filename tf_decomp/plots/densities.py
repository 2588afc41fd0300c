# SPDX-License-Identifier: Apache-2.0
"""Densities of one and two latent dimensions on grids."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import FloatArray, as_finite, spread_indices

# (x0, x1, y0, y1): the first and last points of a grid along x and y.
Extent = tuple[float, float, float, float]

_MOST_SUMMED = 20_000


def as_density(name: str, value: ArrayLike) -> FloatArray:
    """Returns a density on a grid of at least 2 x 2 points.

    Args:
        name: What the caller calls the array, for the message.
        value: [ny, nx] density at the points of a grid.

    Raises:
        InputError: If the rank is not 2, a side has one point, or a value is
            negative or not finite.
    """
    array = as_finite(name, value, "[ny, nx]")
    if min(array.shape) < 2 or array.min() < 0:
        raise InputError(
            f"{name} must be >= 0 on a grid of at least 2 x 2 points; received "
            f"shape {list(array.shape)}, minimum {array.min():.4g}; "
            "pass densities, not their logarithms"
        )
    return array


def as_extent(extent: ArrayLike) -> Extent:
    """Returns (x0, x1, y0, y1), neither side empty.

    Args:
        extent: [4] the first and last points of a grid along x and y.

    Raises:
        InputError: If there are not four finite numbers, x0 < x1 and y0 < y1.
    """
    values = as_finite("extent", extent, "[4]").tolist()
    if len(values) != 4 or values[0] >= values[1] or values[2] >= values[3]:
        raise InputError(
            "extent must be (x0, x1, y0, y1) with x0 < x1 and y0 < y1; "
            f"received {values}; give the grid's first and last points"
        )
    return values[0], values[1], values[2], values[3]


def pixel_extent(extent: Extent, shape: tuple[int, ...]) -> Extent:
    """Returns the outer edges of pixels whose centres are the grid's points.

    Args:
        extent: The first and last points of the grid.
        shape: (ny, nx) of the grid.
    """
    dx, dy = _spacings(extent, shape)
    x0, x1, y0, y1 = extent
    return x0 - dx / 2, x1 + dx / 2, y0 - dy / 2, y1 + dy / 2


def normal_shares(
    locs: FloatArray, scales: ArrayLike, low: float, high: float, num_points: int
) -> FloatArray:
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


def kernel_width(samples: FloatArray) -> float:
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


def pair_density(x: FloatArray, y: FloatArray) -> FloatArray:
    """Returns the density [ny, nx] of a mixture of products.

    Args:
        x: [k, nx] densities of the k components along x, as of `normal_shares`.
        y: [k, ny] those along y.
    """
    return y.T @ x / len(x)


def mixture_density(
    locs: FloatArray, scales: FloatArray, frame: Extent, num_points: int
) -> FloatArray:
    """Returns the mean of diagonal normal densities on a square grid.

    Args:
        locs: [n, 2] means.
        scales: [n, 2] standard deviations.
        frame: The first and last points of the grid.
        num_points: The number of points along x, and along y.
    """
    x, y = (
        normal_shares(locs[:, axis], scales[:, axis], low, high, num_points)
        for axis, (low, high) in enumerate((frame[:2], frame[2:]))
    )
    return pair_density(x, y)


def _spacings(extent: Extent, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the distances of neighbouring grid points along x and y."""
    x0, x1, y0, y1 = extent
    return (x1 - x0) / (shape[1] - 1), (y1 - y0) / (shape[0] - 1)
