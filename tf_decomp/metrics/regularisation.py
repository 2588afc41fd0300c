# SPDX-License-Identifier: Apache-2.0
"""Match of q(z) to the prior: the second factor of the decomposition, Section 4."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_whole_number
from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.metrics.encodings import (
    MOST_SEED,
    aggregate_sources,
    check_posterior,
    check_prior,
    marginals,
    posterior_seed,
    sample_aggregate,
)
from tf_decomp.metrics.overlap import responsibilities
from tf_decomp.metrics.two_samples import (
    NUM_PROJECTIONS,
    MMDTest,
    largest_by_chance,
    marginal_distances,
    mmd_tests,
    worst_projection,
)
from tf_decomp.posteriors import aggregate_log_prob
from tf_decomp.priors import Prior, ReparameterisedMixture
from tf_decomp.sampling import stateless_seed
from tf_decomp.tracing import compiled

# A tenth of the codes lie elsewhere, along a line, than the prior puts them.
MISMATCHED_KOLMOGOROV_SMIRNOV = 0.1
# Of a normal in five dimensions shifted in one by a quarter of its standard deviation,
# which is a Kolmogorov-Smirnov distance of 0.1, the share is 0.0024; of q(z) without
# one of ten modes on a circle 0.0026. The p-value keeps errors rare over many runs.
MISMATCHED_MMD_SHARE = 0.002
MISMATCHED_P_VALUE = 0.01

# Nats: one pair of normal dimensions with r = .43, or two with r = .31. Where marginals
# match and normal scores are normal, it is KL(q(z) || p(z)), however many dimensions.
MISMATCHED_TOTAL_CORRELATION = 0.1

# Of a code, the mean share of the datum that gave it. Up to it the total correlation
# of the encodings is above that of the encoder by up to 0.15 nats (linear-Gaussian
# encodings, 1 to 50 dimensions, 100 to 10,000 data); beyond, it measures n.
_MOST_OWN_SHARE = 0.1

# Samples of q(z) and of p(z) in the tests of marginals.
_MARGINAL_SAMPLES, _PRIOR_SAMPLES = 10_000, 50_000
_FAR = 1e18  # squares stay in float32's range

# Rows of a total correlation of normal scores, and sets of them from the prior.
_MOST_ROWS, _MOST_SETS = 2_000, 25
_FEWEST_ROWS, _ROWS_A_DIMENSION = 10, 2
_ERROR_RATE = 0.001  # of its limit, where q = p


class MatchPart(NamedTuple):
    """One of the parts that decide the verdict.

    Attributes:
        name: "marginals", "projections", "total correlation" or "joint MMD".
        value: What is judged; None where n data are too few for it.
        limit: The largest value of a match.
        failed: Whether it is a mismatch; None where n data are too few to tell.
    """

    name: str
    value: float | None
    limit: float
    failed: bool | None


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


class RegularisationReport(NamedTuple):
    """How the aggregate encoding q(z) of n data differs from the prior p(z).

    Attributes:
        kl: KL(q(z) || p(z)), in nats.
        inclusive_kl: KL(p(z) || q(z)), in nats.
        dimensionwise_mmd: The statistic of `divergences.dimensionwise_mmd`.
        joint_mmd: The same kernels on whole vectors.
        wasserstein: Of every dimension, the Wasserstein-1 distance of its marginals.
        kolmogorov_smirnov: Of every dimension, the largest difference of their
            distribution functions.
        total_correlation: KL(q(z) || prod_d q(z_d)), in nats; None for posterior
            families whose marginals are not known, and where encodings overlap so
            little that it would measure n.
        verdict: "matched", "mismatched" or "not resolvable with n = 100 data".
        n: Number of encodings.
        projected_kolmogorov_smirnov: Of 300 random projections, the largest
            difference of distribution functions.
        gaussian_total_correlation: Of normal scores, beside the prior's; None with
            fewer than 10 data or than 2 a dimension.
        prior_total_correlation: KL(p(z) || prod_d p(z_d)), in nats: the target of
            `total_correlation`. None where the prior's marginals are not known.
        parts: What decides the verdict.
    """

    kl: Estimate
    inclusive_kl: Estimate
    dimensionwise_mmd: MMDTest
    joint_mmd: MMDTest
    wasserstein: tuple[Estimate, ...]
    kolmogorov_smirnov: tuple[Estimate, ...]
    total_correlation: Estimate | None
    verdict: str
    n: int
    projected_kolmogorov_smirnov: Estimate
    gaussian_total_correlation: GaussianTotalCorrelation | None
    prior_total_correlation: Estimate | None
    parts: tuple[MatchPart, ...]


def regularisation_report(
    posterior: tfd.Distribution,
    prior: Prior | tfd.Distribution,
    num_samples: int = 1000,
    seed: int | None = None,
) -> RegularisationReport:
    """Measures how far the aggregate encoding is from the prior.

    Both KLs and the total correlation are Monte Carlo means over samples with the
    aggregate q(z) = (1/n) sum_i q(z|x_i) of all n encodings (and its marginals), not
    of a batch: unbiased for this aggregate, with errors over samples given the
    encodings. That is rough where encodings hardly overlap, so that the KLs also grow
    with a lack of overlap, and the total correlation is left out there. Under a prior
    with heavy tails KL(p || q) may be infinite; its estimate is then large or infinite
    with an error to match, never NaN.

    The other numbers compare samples, with errors over data sets as well. MMD: a code
    of each of up to 1,000 data, and as many of p(z), kernels
    sum_c c / (c + (x_d - y_d)^2) summed over dimensions, and for the joint one
    sum_c c / (c + |x - y|^2 / latent_dim), every dimension divided by the prior's
    interquartile range in units of N(0, 1)'s; p-values from 499 permutations, with at
    least 400 data. Wasserstein-1 and Kolmogorov-Smirnov: 10,000 codes, as many of each
    datum, and 50,000 of p(z), since not all priors have marginals in closed form; of
    projections 20,000. They are maxima over functions, E_q f - E_p f; the errors are
    those of the best f, given it, and the values of equal distributions are somewhat
    above 0 (of Kolmogorov-Smirnov about .9 / sqrt(n), or 0.01 with many data).

    "matched" needs all of four parts, `parts`:

    * marginals: every Kolmogorov-Smirnov distance is at most 0.1, or what the largest
      exceeds by chance in 1 of 1,000 matches where that is more (some hundred
      data);
    * projections: the same of 300 random ones;
    * total correlation: the Gaussian one is within 0.1 nats of the prior's, or within
      what samples of the prior exceed in 1 of 1,000;
    * joint MMD: its share is at most 0.002, or it may be chance (p >= 0.01).

    It is "mismatched" where any fails, and else "not resolvable with n = 100 data"
    where any cannot be told, which is so with fewer than 400 data. It does not depend
    on the overlap.

    Memory [n, latent_dim], whatever the number of samples.

    Args:
        posterior: q(z|x) of all data, batch shape [n], event shape [latent_dim].
        prior: Batch shape [], event shape [latent_dim].
        num_samples: How many z for each KL and the total correlation, >= 2.
        seed: Same seed, same result. By default a digest of the posterior's
            parameters, so that different runs draw independent samples.

    Raises:
        InputError: The shapes do not fit, or there are too few samples.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([400, 2]), tf.ones([400, 2]))
        >>> regularisation_report(q, NormalPrior(2)).verdict
        'matched'
    """
    posterior = check_posterior(posterior, num_samples)
    p = check_prior(prior, posterior)
    if seed is None:
        seed = posterior_seed(posterior)
    check_whole_number("seed", seed, 0, MOST_SEED)
    n = posterior.batch_shape[0]
    z = sample_aggregate(posterior, max(num_samples, _MARGINAL_SAMPLES), seed)
    prior_z = p.sample(max(num_samples, _PRIOR_SAMPLES), seed=stateless_seed(seed, 2))
    prior_z = tf.clip_by_value(tf.cast(prior_z, z.dtype), -_FAR, _FAR)
    of_q, of_p = tf.clip_by_value(z, -_FAR, _FAR).numpy(), prior_z.numpy()
    sources = aggregate_sources(n, len(of_q), seed)
    dimensionwise, joint = mmd_tests(of_q, of_p, n, seed)
    columns = zip(of_q.T, of_p.T, strict=True)
    distances = [marginal_distances(q_d, p_d, sources) for q_d, p_d in columns]
    wasserstein, kolmogorov_smirnov = zip(*distances, strict=True)
    projected = worst_projection(of_q, of_p, sources, seed)
    dependence = gaussian_total_correlation(of_q, of_p, n)
    parts = _parts(kolmogorov_smirnov, projected, dependence, joint, n)
    z, prior_z = z[:num_samples], prior_z[:num_samples]
    log_q = aggregate_log_prob(posterior, z)
    own = responsibilities(posterior, z)[1].numpy().mean()
    return RegularisationReport(
        mean_estimate(log_q - _log_prob(p, z)),
        mean_estimate(_log_prob(p, prior_z) - aggregate_log_prob(posterior, prior_z)),
        dimensionwise,
        joint,
        wasserstein,
        kolmogorov_smirnov,
        sample_total_correlation(posterior, z, log_q)
        if own <= _MOST_OWN_SHARE
        else None,
        _verdict(parts, n),
        n,
        projected,
        dependence,
        prior_total_correlation(p, prior_z),
        parts,
    )


def _parts(
    kolmogorov_smirnov: tuple[Estimate, ...],
    projected: Estimate,
    dependence: GaussianTotalCorrelation | None,
    joint: MMDTest,
    n: int,
) -> tuple[MatchPart, ...]:
    def along_lines(name: str, value: float, count: int) -> MatchPart:
        chance = largest_by_chance(n, count)
        limit = max(MISMATCHED_KOLMOGOROV_SMIRNOV, chance)
        return MatchPart(name, value, limit, value > limit)

    marginal = max(distance.value for distance in kolmogorov_smirnov)
    parts = [
        along_lines("marginals", marginal, len(kolmogorov_smirnov)),
        along_lines("projections", projected.value, NUM_PROJECTIONS),
    ]
    name = "total correlation"
    if dependence is None:
        parts.append(MatchPart(name, None, MISMATCHED_TOTAL_CORRELATION, None))
    else:
        value, limit = abs(dependence.value - dependence.prior), dependence.limit
        parts.append(MatchPart(name, value, limit, value > limit))
    failed = None
    if joint.p_value is not None:
        no_chance = joint.p_value < MISMATCHED_P_VALUE
        failed = no_chance and joint.share > MISMATCHED_MMD_SHARE
    parts.append(MatchPart("joint MMD", joint.share, MISMATCHED_MMD_SHARE, failed))
    return tuple(parts)


def _verdict(parts: tuple[MatchPart, ...], n: int) -> str:
    failed = [part.failed for part in parts]
    if any(failed):
        return "mismatched"
    return f"not resolvable with n = {n:,} data" if None in failed else "matched"


def _log_prob(p: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    return tf.cast(p.log_prob(tf.cast(z, p.dtype)), z.dtype)


def gaussian_total_correlation(
    of_q: np.ndarray, of_p: np.ndarray, num_data: int
) -> GaussianTotalCorrelation | None:
    """Returns that of q(z) beside that of p(z); None with less than 2 data a dimension.

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
    """Returns KL(q(z) || prod_d q(z_d)) of the encodings; None for unknown marginals.

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
    """Returns KL(p(z) || prod_d p(z_d)); 0 for independent dimensions, None if unknown.

    Args:
        p: Batch shape [], event shape [latent_dim].
        z: [num_samples, latent_dim] its samples.
    """
    mixture = type(p) in (tfd.MixtureSameFamily, ReparameterisedMixture)
    each = marginals(p.components_distribution if mixture else p)
    if each is None:
        return None
    if type(p) in (tfd.Independent, tfd.MultivariateNormalDiag):
        return Estimate(0.0, 0.0, z.shape[0])
    z, weights = tf.cast(z, p.dtype), tf.zeros([1], p.dtype)
    if mixture:
        weights = tf.nn.log_softmax(p.mixture_distribution.logits_parameter())
    return mean_estimate(p.log_prob(z) - _marginals_log_prob(each, weights, z))


@compiled
def _marginals_log_prob(
    each: tfd.Distribution, log_weights: tf.Tensor, z: tf.Tensor
) -> tf.Tensor:
    """Returns sum_d log sum_i w_i q_i(z_d) [num_samples], one sample at a time.

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
    """Returns -1/2 log det R of rows [n, latent_dim] and its variance to first order.

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
    """Returns mean and standard deviation of -1/2 log det R where R is the identity.

    Of normal rows det R is a product of independent Beta((n - j) / 2, (j - 1) / 2),
    j = 2 .. latent_dim.
    """
    j = np.arange(2, latent_dim + 1)
    mean, variance = (
        special.polygamma(order, (n - j) / 2) - special.polygamma(order, (n - 1) / 2)
        for order in (0, 1)
    )
    return float(-0.5 * mean.sum()), float(0.5 * np.sqrt(variance.sum()))
