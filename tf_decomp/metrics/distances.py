# SPDX-License-Identifier: Apache-2.0
"""Distances of two samples along lines: of marginals and of random projections."""

import numpy as np
from scipy import stats

from tf_decomp.estimates import Estimate
from tf_decomp.metrics.mmd_test import prior_spread

# Half of them in the plane of two dimensions, where the dependence of one pair among
# many dimensions shows; half of all dimensions.
NUM_PROJECTIONS = 300

_MOST_OF_Q, _MOST_OF_P = 10_000, 20_000
_ANGLES = np.pi / 6, np.pi / 3
_ERROR_RATE = 0.001  # of the largest of all distances, where q = p


def marginal_distances(
    x: np.ndarray, y: np.ndarray, sources: np.ndarray
) -> tuple[Estimate, Estimate]:
    """Gives the Wasserstein-1 and Kolmogorov-Smirnov distances of two samples.

    With F and G the distribution functions on the merged sample: W1 = int |F - G|, and
    E_y f - E_x f for the function f of slope sign(F - G); KS = max |F - G|.

    Args:
        x: [N] samples of q(z_d).
        y: [M] samples of p(z_d).
        sources: [N] the datum of each x, whose codes are not independent.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    grid, difference = _differences(x, y)
    gaps = np.diff(grid)
    wasserstein = float(np.sum(np.abs(difference[:-1]) * gaps))
    f = np.concatenate([[0.0], np.cumsum(np.sign(difference[:-1]) * gaps)])
    f_x, f_y = (f[np.searchsorted(grid, sample)] for sample in (x, y))
    error = _error(f_x, sources, f_y)
    return (
        Estimate(wasserstein, error, len(x)),
        _largest(x, y, sources, grid, difference),
    )


def worst_projection(
    of_q: np.ndarray, of_p: np.ndarray, sources: np.ndarray, seed: int
) -> Estimate:
    """Gives the largest Kolmogorov-Smirnov distance of 300 projections to a line.

    Every dimension is first divided by the prior's interquartile range.

    Args:
        of_q: [N, latent_dim] samples of q(z).
        of_p: [M, latent_dim] samples of p(z).
        sources: [N] the datum of each row of q(z).
        seed: Of the directions.
    """
    of_q, of_p = of_q[:_MOST_OF_Q], of_p[:_MOST_OF_P]
    directions = _directions(of_q.shape[1], seed) / prior_spread(of_p)
    x, y = (rows @ directions.T.astype(rows.dtype) for rows in (of_q, of_p))
    pairs = zip(x.T, y.T, strict=True)
    largest = [np.abs(_differences(*pair)[1]).max() for pair in pairs]
    worst = int(np.argmax(largest))
    x, y = x[:, worst], y[:, worst]
    return _largest(x, y, sources[:_MOST_OF_Q], *_differences(x, y))


def largest_by_chance(num_data: int, num_distances: int) -> float:
    """Gives what the largest of such distances exceeds in 1 of 1,000 matches.

    By the distribution of Kolmogorov and Bonferroni's inequality. Codes of one datum
    count as one, which is exact where they are the same.

    Args:
        num_data: Number of encodings.
        num_distances: How many distances.
    """
    size = min(num_data, _MOST_OF_Q)
    quantile = stats.kstwobign.isf(_ERROR_RATE / num_distances)
    return float(quantile * np.sqrt(1 / size + 1 / _MOST_OF_P))


def _directions(latent_dim: int, seed: int) -> np.ndarray:
    """Gives [300, latent_dim] directions of length 1."""
    rng = np.random.default_rng([seed, 3])
    directions = rng.normal(size=(NUM_PROJECTIONS, latent_dim))
    if latent_dim > 1:
        # Between the axes, whose marginals are judged apart, and every pair of 12 or
        # fewer dimensions to both sides of its first axis.
        pairs = rng.permutation(np.stack(np.triu_indices(latent_dim, 1), axis=1))
        rows = np.arange(NUM_PROJECTIONS // 2)
        chosen = pairs[rows % len(pairs)]
        angles = rng.uniform(*_ANGLES, len(rows))
        sides = np.where(rows // len(pairs) % 2, -1.0, 1.0)
        directions[rows] = 0.0
        directions[rows, chosen[:, 0]] = np.cos(angles)
        directions[rows, chosen[:, 1]] = sides * np.sin(angles)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _differences(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives the merged sample [N + M] and F - G on it."""
    x, y = np.sort(x), np.sort(y)
    grid = np.sort(np.concatenate([x, y]), kind="stable")  # merges what is sorted
    below_x = np.searchsorted(x, grid, side="right") / len(x)
    return grid, below_x - np.searchsorted(y, grid, side="right") / len(y)


def _largest(
    x: np.ndarray,
    y: np.ndarray,
    sources: np.ndarray,
    grid: np.ndarray,
    difference: np.ndarray,
) -> Estimate:
    place = int(np.argmax(np.abs(difference)))
    below_x, below_y = x <= grid[place], y <= grid[place]
    error = _error(below_x.astype(np.float64), sources, below_y.astype(np.float64))
    return Estimate(float(np.abs(difference[place])), error, len(x))


def _error(x: np.ndarray, sources: np.ndarray, y: np.ndarray) -> float:
    """Gives the standard error of mean(x) - mean(y), x in groups that vary as one."""
    sums = np.bincount(sources, x - x.mean())
    groups = np.count_nonzero(np.bincount(sources))
    if groups > 1:
        of_x = np.sum(sums**2) / len(x) ** 2 * groups / (groups - 1)
    else:
        of_x = np.var(x) / len(x)  # given the only encoding
    return float(np.sqrt(of_x + np.var(y) / len(y)))
