# SPDX-License-Identifier: Apache-2.0
"""Samples of q(z) and of p(z) compared: by kernels, and along lines.

The maximum mean discrepancies have a permutation test that keeps its level; the
Wasserstein and Kolmogorov-Smirnov distances are of marginals and random projections.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from tf_decomp.estimates import Estimate
from tf_decomp.tracing import compiled

# With fewer rows the share that matters, 0.002, is less than twice its noise.
FEWEST_FOR_P_VALUE = 400

_MOST_ROWS = 1_000
_FEWEST_ROWS = 10
_PERMUTATIONS = 499
_BANDWIDTHS = (0.2, 0.4, 1.0, 2.0, 4.0, 10.0)
_NORMAL_QUARTILES = 1.349  # of N(0, 1), their distance

# Half of them in the plane of two dimensions, where the dependence of one pair among
# many dimensions shows; half of all dimensions.
NUM_PROJECTIONS = 300

_MOST_OF_Q, _MOST_OF_P = 10_000, 20_000
_ANGLES = np.pi / 6, np.pi / 3
_ERROR_RATE = 0.001  # of the largest of all distances, where q = p


class MMDTest(NamedTuple):
    """A maximum mean discrepancy and its permutation test.

    Attributes:
        value: Unbiased squared MMD; it may be negative. No unit.
        standard_error: Over data sets, encoded by the same encoder, and over samples;
            of fewer than 10 data, over samples only, given the encodings.
        n: Rows of q(z), and as many of p(z). One a datum, so that they are
            independent; of fewer than 10 data, several.
        p_value: Share of permutations of all rows with at least this value; None with
            fewer than 400 data, where it could tell too little.
        share: `value` over the sum of the mean kernels within q(z) and within p(z):
            0 for equal distributions, 1 for such that the kernels see no pair of.
    """

    value: float
    standard_error: float
    n: int
    p_value: float | None
    share: float


def mmd_tests(
    of_q: np.ndarray, of_p: np.ndarray, num_data: int, seed: int
) -> tuple[MMDTest, MMDTest]:
    """Returns the dimension-wise test and the joint one.

    Args:
        of_q: [>= 1000, latent_dim] samples of q(z), the first num_data of different
            data.
        of_p: [many, latent_dim] samples of p(z).
        num_data: Number of encodings.
        seed: Of the permutations.
    """

    def test(kernel: np.ndarray) -> MMDTest:
        value, share = _statistics(kernel)
        tested = num_data >= FEWEST_FOR_P_VALUE
        p_value = permutation_p_value(kernel, seed) if tested else None
        return MMDTest(value, standard_error(kernel), len(kernel) // 2, p_value, share)

    dimensionwise, joint = kernels(of_q, of_p, num_data)
    return test(dimensionwise), test(joint)


def kernels(
    of_q: np.ndarray, of_p: np.ndarray, num_data: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the dimension-wise kernel and the joint one, [2 m, 2 m] float64.

    The first m = min(1000, num_data) rows are of q(z), one a datum, since codes of
    one datum are alike and a permutation test takes all rows as independent.

    Args:
        of_q: As in `mmd_tests`.
        of_p: As in `mmd_tests`.
        num_data: Number of encodings.
    """
    m = min(_MOST_ROWS, num_data) if num_data >= _FEWEST_ROWS else _MOST_ROWS
    rows = np.concatenate([of_q[:m], of_p[:m]])
    in_spreads = (rows / prior_spread(of_p)).astype(rows.dtype)
    both = _kernels(tf.constant(rows), tf.constant(in_spreads))
    dimensionwise, joint = (kernel.numpy().astype(np.float64) for kernel in both)
    return dimensionwise, joint


def prior_spread(of_p: np.ndarray) -> np.ndarray:
    """Returns [latent_dim] interquartile ranges in units of N(0, 1)'s; 1 for 0.

    Args:
        of_p: [many, latent_dim] samples of p(z).
    """
    low, high = np.quantile(of_p, [0.25, 0.75], axis=0)
    return np.where(high > low, high - low, _NORMAL_QUARTILES) / _NORMAL_QUARTILES


def permutation_p_value(
    kernel: np.ndarray, seed: int, permutations: int = _PERMUTATIONS
) -> float:
    """Tests whether the first half of the rows is distributed as the second.

    Args:
        kernel: [2 m, 2 m] of independent rows.
        seed: Of the permutations.
        permutations: How many, the rows as they are not among them.
    """
    m = len(kernel) // 2
    first = np.arange(2 * m) < m
    rng = np.random.default_rng([seed, 1])
    halves = np.stack([first, *(rng.permutation(first) for _ in range(permutations))])
    signs = np.where(halves, 1.0, -1.0)  # [1 + permutations, 2 m]
    # The sum within less the sum across grows with the statistic, the halves being
    # of one size: within / (m (m - 1)) - across / m^2, within + across = constant.
    contrasts = np.einsum("ij,ij->i", signs @ kernel, signs)
    rounding = 1e-12 * np.abs(kernel).sum()
    return float(np.mean(contrasts >= contrasts[0] - rounding))


def standard_error(kernel: np.ndarray) -> float:
    """Returns the standard error of the unbiased squared MMD over independent rows.

    With h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) the value is the
    mean of h over pairs, but for the pairs of one index, and h_ij - E h = g_i + g_j +
    e_ij with uncorrelated terms: its variance is 4 var(g) / m + 2 var(e) / (m (m - 1)).
    Where q = p there is no g, and the jackknife would give twice the second term; what
    is left of it, for a variance is no less than 0, makes the error there a fifth too
    large.

    Args:
        kernel: [2 m, 2 m], m >= 4.
    """
    m = len(kernel) // 2
    cross = kernel[:m, m:]
    h = kernel[:m, :m] + kernel[m:, m:] - cross - cross.T
    np.fill_diagonal(h, 0.0)
    mean = h.sum() / (m * (m - 1))
    g = (h.sum(axis=1) - (m - 1) * mean) / (m - 2)
    e = h - mean - g[:, None] - g
    np.fill_diagonal(e, 0.0)
    of_e = np.sum(e**2) / (m * (m - 3))
    of_g = max(float(np.sum(g**2)) / (m - 1) - of_e / (m - 2), 0.0)
    return float(np.sqrt(4 * of_g / m + 2 * of_e / (m * (m - 1))))


@compiled
def _kernels(rows: tf.Tensor, in_spreads: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns both kernels [N, N] of rows [N, latent_dim], one dimension at a time."""

    def squares(column: tf.Tensor) -> tf.Tensor:
        return (column[:, None] - column) ** 2

    def kernel(distances: tf.Tensor) -> tf.Tensor:
        return tf.add_n([c / (c + distances) for c in _BANDWIDTHS])

    def add(sums: Sequence[tf.Tensor], columns: Sequence[tf.Tensor]) -> Any:
        return sums[0] + kernel(squares(columns[0])), sums[1] + squares(columns[1])

    zeros = tf.zeros([tf.shape(rows)[0]] * 2, rows.dtype)
    columns = tf.transpose(rows), tf.transpose(in_spreads)
    dimensionwise, distances = tf.foldl(add, columns, (zeros, zeros))
    return dimensionwise, kernel(distances / tf.cast(tf.shape(rows)[1], rows.dtype))


def _statistics(kernel: np.ndarray) -> tuple[float, float]:
    """Returns the unbiased squared MMD and its share."""
    m = len(kernel) // 2
    of_one = np.trace(kernel) / len(kernel)  # the kernel of a point with itself
    sums = kernel[:m, :m].sum() + kernel[m:, m:].sum()
    within = float(sums - 2 * m * of_one) / (m * (m - 1))
    value = within - 2 * float(kernel[:m, m:].mean())
    return value, value / within


def marginal_distances(
    x: np.ndarray, y: np.ndarray, sources: np.ndarray
) -> tuple[Estimate, Estimate]:
    """Returns the Wasserstein-1 and Kolmogorov-Smirnov distances of two samples.

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
    """Returns the largest Kolmogorov-Smirnov distance of 300 projections to a line.

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
    """Returns what the largest of such distances exceeds in 1 of 1,000 matches.

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
    """Returns [300, latent_dim] directions of length 1."""
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
    """Returns the merged sample [N + M] and F - G on it."""
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
    """Returns the standard error of mean(x) - mean(y), x in groups that vary as one."""
    sums = np.bincount(sources, x - x.mean())
    groups = np.count_nonzero(np.bincount(sources))
    if groups > 1:
        of_x = np.sum(sums**2) / len(x) ** 2 * groups / (groups - 1)
    else:
        of_x = np.var(x) / len(x)  # given the only encoding
    return float(np.sqrt(of_x + np.var(y) / len(y)))
