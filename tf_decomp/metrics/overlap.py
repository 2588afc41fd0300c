# SPDX-License-Identifier: Apache-2.0
"""Overlap of the encodings: the first factor of the decomposition, Section 4."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.metrics.encodings import (
    check_posterior,
    marginals,
    mean_estimate,
    sample_aggregate,
)
from tf_decomp.metrics.estimates import active_dimensions
from tf_decomp.objective_means import Estimate
from tf_decomp.randomness import stateless_seed
from tf_decomp.tracing import compiled

LOOKUP_TABLE_OVERLAP = 1.05
OVER_SMOOTHED_SHARE = 0.05
OVER_SMOOTHED = "over-smoothed"


class OverlapReport(NamedTuple):
    """How much the encodings q(z|x_i) of n data overlap.

    Attributes:
        overlap: exp(E[H(r(z))]), the number of data that could have given a code z:
            1 for a lookup table, n for total overlap.
        mutual_information: I(x; z) = log n - E[H(r(z))], in nats.
        mutual_information_bound: log n, the largest I(x; z) that n data can show.
        encoder_entropy: H(q(z|x)) / latent_dim, the mean over data, in nats.
        encoder_entropies: [latent_dim] mean over data of H(q(z_d|x)), in nats; empty
            for families whose marginals are not known.
        active: Indices of the active units, by the rule of
            `tf_decomp.metrics.active_dimensions`.
        posterior_mean_variances: [latent_dim] Var(mean_d) over the data.
        posterior_variances: [latent_dim] E[Var(z_d|x)], means over the data.
        verdict: "lookup table", "appropriate" or "over-smoothed".
        n: Number of encodings.
    """

    overlap: Estimate
    mutual_information: Estimate
    mutual_information_bound: float
    encoder_entropy: Estimate
    encoder_entropies: tuple[float, ...]
    active: tuple[int, ...]
    posterior_mean_variances: tuple[float, ...]
    posterior_variances: tuple[float, ...]
    verdict: str
    n: int


def overlap_report(
    posterior: tfd.Distribution, num_queries: int = 1000, seed: int = 0
) -> OverlapReport:
    """Measures how much the encodings of a data set overlap.

    With the responsibilities r_j(z) = q(z|x_j) / sum_k q(z|x_k) over all n encodings,
    E[H(r(z))] is the mean of their entropy over queries z ~ q(z|x_i), i uniform. Under
    the empirical distribution of the data this is H(x|z), so that log n - E[H(r(z))]
    is an unbiased estimate of I(x; z). Standard errors are over the queries (over the
    data for the encoder's entropy), that of the overlap by the delta method.

    The verdict is "lookup table" where the overlap is below 1.05 (equally: I(x; z) is
    within log 1.05 of its bound log n), so that a code names its datum and nothing is
    shared; "over-smoothed" where I(x; z) is below 5% of log n, so that codes say next
    to nothing about data; else "appropriate". Overlap is relative to the data: denser
    data overlap more under the same encoder, so compare equal n only.

    Memory [n, latent_dim], whatever the number of queries.

    Args:
        posterior: q(z|x) of all data, batch shape [n], event shape [latent_dim].
        num_queries: How many z, >= 2.
        seed: Same seed, same queries.

    Raises:
        InputError: The posterior has other shapes or holds a single datum, or there
            are too few queries.

    Example:
        >>> loc = tf.constant([[0.0, 0.0], [9.0, 9.0]])
        >>> report = overlap_report(tfd.MultivariateNormalDiag(loc, tf.ones([2, 2])))
        >>> round(report.overlap.value, 3), report.verdict
        (1.0, 'lookup table')
    """
    posterior = check_posterior(posterior, num_queries)
    n = posterior.batch_shape[0]
    if n < 2:
        raise InputError(
            f"posterior: overlap is between encodings; received {n}, encode more data"
        )
    queries = sample_aggregate(posterior, num_queries, seed)
    bound = float(np.log(n))
    # Rounding may leave [0, log n] by its last digits.
    entropies = np.clip(_responsibility_entropies(posterior, queries), 0.0, bound)
    entropy = mean_estimate(entropies)
    overlap = float(np.exp(entropy.value))
    information = bound - entropy.value
    each = marginals(posterior)
    latent_dim = posterior.event_shape[0]
    means, scales = posterior.mean().numpy(), posterior.stddev().numpy()
    active = active_dimensions(means, posterior_scales=scales)
    return OverlapReport(
        Estimate(overlap, overlap * entropy.standard_error, num_queries),
        entropy._replace(value=information),
        bound,
        mean_estimate(_entropies(posterior, seed) / latent_dim),
        ()
        if each is None
        else _numbers(_entropies(each, seed).mean(axis=0, dtype=np.float64)),
        tuple(np.flatnonzero(active).tolist()),
        _numbers(np.var(means, axis=0, dtype=np.float64)),
        _numbers(np.mean(scales.astype(np.float64) ** 2, axis=0)),
        _verdict(overlap, information, bound),
        n,
    )


def _verdict(overlap: float, information: float, bound: float) -> str:
    if overlap < LOOKUP_TABLE_OVERLAP:
        return "lookup table"
    if information < OVER_SMOOTHED_SHARE * bound:
        return OVER_SMOOTHED
    return "appropriate"


@compiled
def _responsibility_entropies(
    posterior: tfd.Distribution, queries: tf.Tensor
) -> tf.Tensor:
    """Gives H(r(z)) [num_queries], in nats.

    With s_j = log q(z|x_j) - max and Z = sum_j exp(s_j), in which nothing large
    cancels: H = log Z - sum_j s_j exp(s_j) / Z. A query at a time: [n, latent_dim].
    """

    def of_query(z: tf.Tensor) -> tf.Tensor:
        log_probs = posterior.log_prob(z)  # [n]
        below = log_probs - tf.reduce_max(log_probs)
        shares = tf.exp(below)
        # 0 log 0 = 0; float64, since float32 sums of a million numbers drift.
        terms = tf.cast(tf.math.multiply_no_nan(below, shares), tf.float64)
        total = tf.reduce_sum(tf.cast(shares, tf.float64))
        return tf.math.log(total) - tf.reduce_sum(terms) / total

    return tf.map_fn(of_query, queries, fn_output_signature=tf.float64)


def _entropies(distribution: tfd.Distribution, seed: int) -> np.ndarray:
    """Gives entropies of the batch shape, in nats; by one sample where unknown."""
    try:
        entropies = distribution.entropy()
    except NotImplementedError:
        samples = distribution.sample(seed=stateless_seed(seed, stream=1))
        entropies = -distribution.log_prob(samples)
    return entropies.numpy()


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.asarray(values, np.float64).tolist())
