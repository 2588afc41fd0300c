# SPDX-License-Identifier: Apache-2.0
"""Overlap of the encodings: the first factor of the decomposition, Section 4."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_whole_number
from tf_decomp.divergences import kl_divergence
from tf_decomp.errors import InputError
from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.metrics.codes import active_dimensions
from tf_decomp.metrics.encodings import (
    MOST_SEED,
    check_posterior,
    check_prior,
    marginals,
    sample_aggregate,
)
from tf_decomp.priors import Prior
from tf_decomp.sampling import stateless_seed
from tf_decomp.tracing import compiled

# Of a code, the mean share of the datum that gave it. From here on I(x; z) is half a
# nat too low or worse: linear-Gaussian encodings of known I(x; z), 1 to 50 dimensions,
# 100 to 10,000 data, reach that bias at shares of .5 (1) to .3 (50 dimensions).
UNRESOLVED_OWN_SHARE = 1 / 3
OVER_SMOOTHED_SHARE = 0.05
OVER_SMOOTHED = "over-smoothed"


class OverlapReport(NamedTuple):
    """How much the encodings q(z|x_i) of n data overlap.

    Attributes:
        overlap: exp(E[H(r(z))]), the number of data that could have given a code z:
            1 where no two of the n data overlap, n for total overlap.
        mutual_information: I(x; z) = log n - E[H(r(z))], in nats.
        mutual_information_bound: log n, the largest I(x; z) that n data can show.
        encoder_entropy: H(q(z|x)) / latent_dim, the mean over data, in nats.
        encoder_entropies: [latent_dim] mean over data of H(q(z_d|x)), in nats; empty
            for families whose marginals are not known.
        active: Indices of the active units, by the rule of
            `tf_decomp.metrics.active_dimensions`.
        posterior_mean_variances: [latent_dim] Var(mean_d) over the data.
        posterior_variances: [latent_dim] E[Var(z_d|x)], means over the data.
        verdict: "not resolvable with n = 1,234 data", "appropriate" or
            "over-smoothed".
        n: Number of encodings.
        own_share: Of a code, the mean share r_i(z) of the datum that gave it: about
            1/n for total overlap, 1 where no two of the n data overlap.
        kl: KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)), the mean over data, in
            nats; None without a prior.
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
    own_share: Estimate
    kl: Estimate | None


def overlap_report(
    posterior: tfd.Distribution,
    num_queries: int = 1000,
    seed: int = 0,
    prior: Prior | tfd.Distribution | None = None,
) -> OverlapReport:
    """Measures how much the encodings of a data set overlap.

    With the responsibilities r_j(z) = q(z|x_j) / sum_k q(z|x_k) over all n encodings,
    E[H(r(z))] is the mean of their entropy over queries z ~ q(z|x_i), i uniform. Under
    the empirical distribution of the data this is H(x|z), so that log n - E[H(r(z))]
    is an unbiased estimate of I(x; z). Standard errors are over the queries, given the
    encodings (over the data for the encoder's entropy and the KL), that of the overlap
    by the delta method.

    The verdict is "not resolvable with n = 1,234 data" where the datum that gave a code
    has a share of its responsibilities above 1/3 in the mean. I(x; z) is then near its
    bound log n, and half a nat or more too low for data beyond these n: a lookup table
    looks so, and so does q(z) = p(z) where the KL of the encodings is above log n. It
    is "over-smoothed" where I(x; z) is below 5% of log n, so that codes say next to
    nothing about data; else "appropriate". Overlap is relative to the data: denser
    data overlap more under the same encoder, so compare equal n only.

    Memory [n, latent_dim], whatever the number of queries.

    Args:
        posterior: q(z|x) of all data, batch shape [n], event shape [latent_dim].
        num_queries: How many z, >= 2.
        seed: Same seed, same queries.
        prior: Batch shape [], event shape [latent_dim]; for `kl`.

    Raises:
        InputError: The posterior has other shapes or holds a single datum, the prior
            does not fit, or there are too few queries.

    Example:
        >>> loc = tf.constant([[0.0, 0.0], [9.0, 9.0]])
        >>> report = overlap_report(tfd.MultivariateNormalDiag(loc, tf.ones([2, 2])))
        >>> round(report.overlap.value, 3), report.verdict
        (1.0, 'not resolvable with n = 2 data')
    """
    posterior = check_posterior(posterior, num_queries)
    check_whole_number("seed", seed, 0, MOST_SEED)
    n = posterior.batch_shape[0]
    if n < 2:
        raise InputError(
            f"posterior: overlap is between encodings; received {n}, encode more data"
        )
    queries = sample_aggregate(posterior, num_queries, seed)
    bound = float(np.log(n))
    # Rounding may leave [0, log n] by its last digits.
    entropies, own = (each.numpy() for each in responsibilities(posterior, queries))
    entropies = np.clip(entropies, 0.0, bound)
    entropy = mean_estimate(entropies)
    overlap = float(np.exp(entropy.value))
    information = bound - entropy.value
    each = marginals(posterior)
    latent_dim = posterior.event_shape[0]
    means, deviations = posterior.mean().numpy(), posterior.stddev().numpy()
    active = active_dimensions(means, posterior_scales=deviations)
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
        _numbers(np.mean(deviations.astype(np.float64) ** 2, axis=0)),
        _verdict(float(own.mean()), information, n),
        n,
        mean_estimate(own),
        None if prior is None else _mean_kl(posterior, prior, seed),
    )


def _verdict(own_share: float, information: float, n: int) -> str:
    if own_share > UNRESOLVED_OWN_SHARE:
        return f"not resolvable with n = {n:,} data"
    if information < OVER_SMOOTHED_SHARE * np.log(n):
        return OVER_SMOOTHED
    return "appropriate"


@compiled
def responsibilities(
    posterior: tfd.Distribution, queries: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns entropies H(r(z)), in nats, and own shares E[r_i(z)] [num_queries] each.

    The datum i that gave z is, given z, one with the probabilities r(z), so that its
    expected share is sum_j r_j(z)^2. With s_j = log q(z|x_j) - max and
    Z = sum_j exp(s_j), in which nothing large cancels: H = log Z -
    sum_j s_j exp(s_j) / Z. A query at a time: [n, latent_dim].

    Args:
        posterior: Batch shape [n], event shape [latent_dim].
        queries: [num_queries, latent_dim].
    """

    def of_query(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_probs = posterior.log_prob(z)  # [n]
        below = log_probs - tf.reduce_max(log_probs)
        shares = tf.exp(below)
        # 0 log 0 = 0; float64, since float32 sums of a million numbers drift.
        terms = tf.cast(tf.math.multiply_no_nan(below, shares), tf.float64)
        shares = tf.cast(shares, tf.float64)
        total = tf.reduce_sum(shares)
        entropy = tf.math.log(total) - tf.reduce_sum(terms) / total
        return entropy, tf.reduce_sum(shares**2) / total**2

    return tf.map_fn(of_query, queries, fn_output_signature=(tf.float64, tf.float64))


def _mean_kl(
    posterior: tfd.Distribution, prior: Prior | tfd.Distribution, seed: int
) -> Estimate:
    """Returns the mean KL(q(z|x) || p(z)), of a sample each where it is not exact."""
    p = check_prior(prior, posterior)
    latents = posterior.sample(1, seed=stateless_seed(seed, stream=2))
    return mean_estimate(kl_divergence(posterior, p, latents))


def _entropies(distribution: tfd.Distribution, seed: int) -> np.ndarray:
    """Returns entropies of the batch shape, in nats; by one sample where unknown."""
    try:
        entropies = distribution.entropy()
    except NotImplementedError:
        samples = distribution.sample(seed=stateless_seed(seed, stream=1))
        entropies = -distribution.log_prob(samples)
    return entropies.numpy()


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.asarray(values, np.float64).tolist())
