# SPDX-License-Identifier: Apache-2.0
"""Dependence among latent dimensions: total correlations, and what is chance."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats
from tensorflow_probability import distributions as tfd

from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.metrics.encodings import marginals
from tf_decomp.tracing import compiled

# Nats: one pair of normal dimensions with r = .43, or two with r = .31. Where marginals
# match and normal scores are normal, it is KL(q(z) || p(z)), however many dimensions.
MISMATCHED_TOTAL_CORRELATION = 0.1

_MOST_ROWS, _MOST_SETS = 2_000, 25
_FEWEST_ROWS, _ROWS_A_DIMENSION = 10, 2
_ERROR_RATE = 0.001  # of the limit, where q = p


class GaussianTotalCorrelation(NamedTuple):
    """-1/2 log det R, R the correlations of normal scores, in nats.

    Normal scores are Phi^{-1}(rank / (n + 1)), so that marginals do not enter. It is
    the total correlation of dimensions that are normal together but for monotone maps,
    and blind to dependence without correlation.

    Attributes:
        value: Of samples of q(z), one a datum, less `null_level`: unbiased where
            normal. It may be negative.
        standard_error: Over data sets, encoded by the same encoder, and over samples.
        n: Rows of q(z).
        null_level: What independent dimensions show in as many rows, in nats.
        prior: The same of samples of p(z), the target: 0 for independent dimensions.
        limit: The largest |value - prior| of a match: 0.1 nats, or with few rows what
            samples of p(z) exceed in 1 of 1,000.
    """

    value: float
    standard_error: float
    n: int
    null_level: float
    prior: float
    limit: float


def gaussian_total_correlation(
    of_q: np.ndarray, of_p: np.ndarray, num_data: int
) -> GaussianTotalCorrelation | None:
    """Gives that of q(z) beside that of p(z); None with less than 2 data a dimension.

    Args:
        of_q: [many, latent_dim] samples of q(z), the first num_data of different data.
        of_p: [many, latent_dim] samples of p(z).
        num_data: Number of encodings.
    """
    n, latent_dim = min(num_data, _MOST_ROWS), of_q.shape[1]
    if n < max(_FEWEST_ROWS, _ROWS_A_DIMENSION * latent_dim):
        return None
    level, spread = _null(n, latent_dim)
    count = min(_MOST_SETS, len(of_p) // n)
    sets = of_p[: count * n].reshape(count, n, latent_dim)
    of_sets = np.array([_total_correlation(rows)[0] for rows in sets]) - level
    quantile = stats.t(count - 1).isf(_ERROR_RATE / 2) * np.sqrt(1 + 1 / count)
    value, variance = _total_correlation(of_q[:n])
    return GaussianTotalCorrelation(
        value - level,
        # Where there is no correlation, the first order is twice the whole.
        float(np.sqrt(max(variance - spread**2, spread**2))),
        n,
        level,
        float(of_sets.mean()),
        max(MISMATCHED_TOTAL_CORRELATION, float(quantile * of_sets.std(ddof=1))),
    )


def sample_total_correlation(
    posterior: tfd.Distribution, z: tf.Tensor, log_q: tf.Tensor
) -> Estimate | None:
    """Gives KL(q(z) || prod_d q(z_d)) of the encodings; None for unknown marginals.

    Args:
        posterior: Batch shape [n], event shape [latent_dim].
        z: [num_samples, latent_dim] samples of its aggregate.
        log_q: [num_samples] the aggregate's log-density there.
    """
    each = marginals(posterior)
    if each is None:
        return None
    weights = tf.fill([each.batch_shape[0]], -np.log(each.batch_shape[0]))
    weights = tf.cast(weights, z.dtype)
    return mean_estimate(log_q - _marginals_log_prob(each, weights, z))


def prior_total_correlation(p: tfd.Distribution, z: tf.Tensor) -> Estimate | None:
    """Gives KL(p(z) || prod_d p(z_d)); 0 for independent dimensions, None if unknown.

    Args:
        p: Batch shape [], event shape [latent_dim].
        z: [num_samples, latent_dim] its samples.
    """
    mixture = isinstance(p, tfd.MixtureSameFamily)
    each = marginals(p.components_distribution if mixture else p)
    if each is None:
        return None
    if isinstance(p, tfd.Independent | tfd.MultivariateNormalDiag):
        return Estimate(0.0, 0.0, z.shape[0])
    z, weights = tf.cast(z, p.dtype), tf.zeros([1], p.dtype)
    if mixture:
        weights = tf.nn.log_softmax(p.mixture_distribution.logits_parameter())
    return mean_estimate(p.log_prob(z) - _marginals_log_prob(each, weights, z))


@compiled
def _marginals_log_prob(
    each: tfd.Distribution, log_weights: tf.Tensor, z: tf.Tensor
) -> tf.Tensor:
    """Gives sum_d log sum_i w_i q_i(z_d) [num_samples], one sample at a time.

    Args:
        each: Batch shape [n, latent_dim] or, of a single one, [latent_dim].
        log_weights: [n].
        z: [num_samples, latent_dim].
    """

    def of_sample(z: tf.Tensor) -> tf.Tensor:
        log_probs = each.log_prob(z) + log_weights[:, None]  # [n, latent_dim]
        return tf.reduce_sum(tf.reduce_logsumexp(log_probs, axis=0))

    return tf.map_fn(of_sample, z)


def _total_correlation(rows: np.ndarray) -> tuple[float, float]:
    """Gives -1/2 log det R of rows [n, latent_dim] and its variance to first order.

    A row s of scores moves it by (s's - s' R^{-1} s) / 2 over n.
    """
    n, latent_dim = rows.shape
    scores = special.ndtri(stats.rankdata(rows, axis=0) / (n + 1))
    norms = np.sqrt(np.mean(scores**2, axis=0))
    # Ties have the mean of their ranks, so that a constant dimension correlates with
    # nothing.
    scores /= np.where(norms > 0, norms, np.inf)
    # So shrunk, a dimension that is a copy of another has (log n) / 2, not infinity.
    correlations = scores.T @ scores / n * (1 - 1 / n)
    np.fill_diagonal(correlations, 1.0)
    value = -0.5 * np.linalg.slogdet(correlations)[1]
    whitened = np.linalg.solve(correlations, scores.T).T
    moves = np.sum(scores * (scores - whitened), axis=1) / 2
    return float(value), float(np.var(moves) / n)


def _null(n: int, latent_dim: int) -> tuple[float, float]:
    """Gives mean and standard deviation of -1/2 log det R where R is the identity.

    Of normal rows det R is a product of independent Beta((n - j) / 2, (j - 1) / 2),
    j = 2 .. latent_dim.
    """
    j = np.arange(2, latent_dim + 1)
    mean, variance = (
        special.polygamma(order, (n - j) / 2) - special.polygamma(order, (n - 1) / 2)
        for order in (0, 1)
    )
    return float(-0.5 * mean.sum()), float(0.5 * np.sqrt(variance.sum()))
