# SPDX-License-Identifier: Apache-2.0
"""Maximum mean discrepancies of q(z) and p(z), with a test that keeps its level."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_decomp.tracing import compiled

# With fewer rows the share that matters, 0.002, is less than twice its noise.
FEWEST_FOR_P_VALUE = 400

_MOST_ROWS = 1_000
_FEWEST_ROWS = 10
_PERMUTATIONS = 499
_BANDWIDTHS = (0.2, 0.4, 1.0, 2.0, 4.0, 10.0)
_NORMAL_QUARTILES = 1.349  # of N(0, 1), their distance


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
    """Gives the dimension-wise test and the joint one.

    Args:
        of_q: [>= 1000, latent_dim] samples of q(z), the first num_data of different
            data.
        of_p: [many, latent_dim] samples of p(z).
        num_data: Number of encodings.
        seed: Of the permutations.
    """
    tested = num_data >= FEWEST_FOR_P_VALUE
    return tuple(
        MMDTest(
            _statistics(kernel)[0],
            standard_error(kernel),
            len(kernel) // 2,
            permutation_p_value(kernel, seed) if tested else None,
            _statistics(kernel)[1],
        )
        for kernel in kernels(of_q, of_p, num_data)
    )  # type: ignore[return-value]


def kernels(
    of_q: np.ndarray, of_p: np.ndarray, num_data: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the dimension-wise kernel and the joint one, [2 m, 2 m] float64.

    The first m = min(1000, num_data) rows are of q(z), one a datum, since codes of
    one datum are alike and a permutation test takes all rows as independent.

    Args:
        of_q: As in `mmd_tests`.
        of_p: As in `mmd_tests`.
        num_data: Number of encodings.
    """
    m = min(_MOST_ROWS, num_data) if num_data >= _FEWEST_ROWS else _MOST_ROWS
    rows = np.concatenate([of_q[:m], of_p[:m]])
    scaled = (rows / prior_spread(of_p)).astype(rows.dtype)
    both = _kernels(tf.constant(rows), tf.constant(scaled))
    dimensionwise, joint = (kernel.numpy().astype(np.float64) for kernel in both)
    return dimensionwise, joint


def prior_spread(of_p: np.ndarray) -> np.ndarray:
    """Gives [latent_dim] interquartile ranges in units of N(0, 1)'s; 1 for 0.

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
    """Gives the standard error of the unbiased squared MMD over independent rows.

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
def _kernels(rows: tf.Tensor, scaled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives both kernels [N, N] of rows [N, latent_dim], one dimension at a time."""

    def squares(column: tf.Tensor) -> tf.Tensor:
        return (column[:, None] - column) ** 2

    def kernel(distances: tf.Tensor) -> tf.Tensor:
        return tf.add_n([c / (c + distances) for c in _BANDWIDTHS])

    def add(sums: Sequence[tf.Tensor], columns: Sequence[tf.Tensor]) -> Any:
        return sums[0] + kernel(squares(columns[0])), sums[1] + squares(columns[1])

    zeros = tf.zeros([tf.shape(rows)[0]] * 2, rows.dtype)
    columns = tf.transpose(rows), tf.transpose(scaled)
    dimensionwise, distances = tf.foldl(add, columns, (zeros, zeros))
    return dimensionwise, kernel(distances / tf.cast(tf.shape(rows)[1], rows.dtype))


def _statistics(kernel: np.ndarray) -> tuple[float, float]:
    """Gives the unbiased squared MMD and its share."""
    m = len(kernel) // 2
    of_one = np.trace(kernel) / len(kernel)  # the kernel of a point with itself
    sums = kernel[:m, :m].sum() + kernel[m:, m:].sum()
    within = float(sums - 2 * m * of_one) / (m * (m - 1))
    value = within - 2 * float(kernel[:m, m:].mean())
    return value, value / within
