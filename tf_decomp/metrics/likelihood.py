# SPDX-License-Identifier: Apache-2.0
"""The marginal log-likelihood log p(x), by importance weighting."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from tf_decomp.checks import check_memory, check_whole_number
from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.likelihoods import check_support
from tf_decomp.metrics.encodings import MOST_SEED, batches
from tf_decomp.priors import as_prior
from tf_decomp.sampling import plain, stateless_seed
from tf_decomp.tracing import traced

LOW_EFFECTIVE_SAMPLE_SIZE = 10

# Data in a block, numbers of its log weights, and numbers of the data decoded at once:
# together a few hundred MB with the activations of convolutions.
_BLOCK = 100
_LOG_WEIGHTS = 2**22
_DECODED = 2**20
_MOST_DECODED = 2**14


class MarginalLogLikelihood(NamedTuple):
    """The importance-weighted bound, and how far it can be trusted.

    Attributes:
        value: Mean over data of log (1/K) sum_k w_k, in nats.
        standard_error: Its standard error over data, which holds the Monte Carlo
            error too.
        n: Number of data.
        monte_carlo_error: Its standard error over the latent samples, given the data;
            NaN for K = 1, as the next.
        bias_bound: Mean of Var(w / E w) / (2K), in nats: by about so much `value` is
            too low, to first order in 1/K. The variance is that of the sampled
            weights, which is too small itself while the effective sample size is.
        effective_sample_size: (sum w)^2 / sum w^2, in [1, K], the mean over data.
        low_share: Share of the data whose effective sample size is below 10.
        num_samples: K.
        curve: The bound at 1, 10, 100, ... and K samples.
    """

    value: float
    standard_error: float
    n: int
    monte_carlo_error: float
    bias_bound: float
    effective_sample_size: Estimate
    low_share: float
    num_samples: int
    curve: dict[int, Estimate]


def marginal_log_likelihood(
    model: Any, x: Any, num_samples: int, seed: int = 0, c: Any = None
) -> MarginalLogLikelihood:
    """Estimates E[log p(x)] from below, in nats (Burda et al. 2016).

    For each datum log (1/K) sum_k w_k with w_k = p(x|z_k) p(z_k) / q(z_k|x) and
    z_k ~ q(z|x): in expectation a lower bound on log p(x), whose bias falls as 1/K.
    By the delta method its variance is Var(w / E w) / K and its bias minus half of
    that, both from the same weights. A point K' < K of the curve is the mean over
    the K // K' groups of K' weights. A bound that still rises along the curve, or an
    effective sample size near 1, says that K is too small.

    Memory grows neither with n nor, up to four million samples, with K: data come in
    blocks, and of each block a few samples are decoded at a time.

    Args:
        model: With `encode(x)`, `decode(z)` and `prior` (a Prior or a distribution),
            as a DecompositionVAE.
        x: An array [n, *data_shape], a `tf.data.Dataset` or another iterable of
            batches x, (x,) or (x, y, ...).
        num_samples: K, >= 1.
        seed: Same seed and batches, same result.
        c: Of a conditional model, as of `encode_data`: the estimate is of
            E[log p(x|c)].

    Raises:
        InputError: K is below 1, or there is no datum.

    Example:
        >>> report = marginal_log_likelihood(vae, x_test, num_samples=1000)
        >>> report.value, report.standard_error, report.monte_carlo_error
    """
    check_whole_number("num_samples", num_samples, 1)
    check_whole_number("seed", seed, 0, MOST_SEED)
    check_memory(32 * num_samples, f"{num_samples:,} samples a datum", "take fewer")
    block = max(1, min(_BLOCK, _LOG_WEIGHTS // num_samples))
    sizes = [10**power for power in range(20) if 10**power < num_samples]
    sizes.append(num_samples)
    draw = _log_weights(model)
    parts = []
    prior = as_prior(model.prior).distribution
    latents = tf.zeros([1, *prior.event_shape], prior.dtype)
    likelihood = None
    for number, (rows, *condition) in enumerate(batches(model, x, block, c)):
        if likelihood is None:
            likelihood = model.decode(latents, *(each[:1] for each in condition))
        check_support(likelihood, rows)
        decoded = min(_MOST_DECODED, _DECODED // max(1, rows[0].size))
        count = -(-num_samples // max(1, decoded // len(rows)))  # of calls
        of_block = tf.random.fold_in(stateless_seed(seed), number)
        seeds = tf.random.split(of_block, count)
        samples = tf.constant(-(-num_samples // count))
        log_weights = draw(seeds, samples, *map(tf.constant, (rows, *condition)))
        parts.append(_of_data(log_weights.numpy()[:num_samples], sizes))
    return _report(np.concatenate(parts), num_samples, sizes)


def _log_weights(model: Any) -> Callable[..., tf.Tensor]:
    """Returns the compiled function of a block's log weights.

    It maps seeds [count, 2], a number of samples, x [batch, *data_shape] and, of a
    conditional model, c to [count * samples, batch], one seed at a time.
    """

    @traced
    def log_weights(
        seeds: tf.Tensor, samples: tf.Tensor, x: tf.Tensor, *c: tf.Tensor
    ) -> tf.Tensor:
        posterior = plain(model.encode(x, *c))
        prior = as_prior(model.prior).distribution
        data = tf.cast(x, posterior.dtype)
        copies = tf.repeat(data[None], samples, axis=0)
        copies = tf.reshape(copies, tf.concat([[-1], tf.shape(data)[1:]], 0))
        conditions = [tf.tile(each, [samples, 1]) for each in c]

        def of_seed(seed: tf.Tensor) -> tf.Tensor:
            latents = posterior.sample(samples, seed=seed)
            flat = tf.reshape(latents, [-1, prior.event_shape[0]])
            likelihood = plain(model.decode(flat, *conditions))
            log_likelihood = tf.reshape(likelihood.log_prob(copies), [samples, -1])
            log_ratio = prior.log_prob(latents) - posterior.log_prob(latents)
            return log_likelihood + log_ratio

        mapped = tf.map_fn(
            of_seed,
            seeds,
            parallel_iterations=1,  # or the activations of several are held
            fn_output_signature=posterior.dtype,
        )
        return tf.reshape(mapped, [-1, tf.shape(x)[0]])

    return log_weights


def _of_data(log_weights: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Returns [batch, 1 + len(sizes)]: the effective sample size, the bounds."""
    log_weights = log_weights.astype(np.float64)
    total = logsumexp(log_weights, axis=0)
    columns = [np.exp(2 * total - logsumexp(2 * log_weights, axis=0))]
    for size in sizes:
        groups = len(log_weights) // size
        grouped = log_weights[: groups * size].reshape(groups, size, -1)
        columns.append(np.mean(logsumexp(grouped, axis=1), axis=0) - np.log(size))
    return np.stack(columns, axis=1)


def _report(
    columns: np.ndarray, num_samples: int, sizes: list[int]
) -> MarginalLogLikelihood:
    effective, bounds = columns[:, 0], columns[:, 1:]
    curve = {
        size: mean_estimate(bound) for size, bound in zip(sizes, bounds.T, strict=True)
    }
    # Var(w / E w) / K, as sum w^2 / (sum w)^2 = (1 + that variance) / K.
    variances = np.full(len(columns), np.nan)
    if num_samples > 1:
        excess = np.maximum(num_samples / effective - 1, 0)  # rounding aside
        variances = excess / (num_samples - 1)
    return MarginalLogLikelihood(
        *curve[num_samples],
        monte_carlo_error=float(np.sqrt(variances.sum()) / len(columns)),
        bias_bound=float(variances.mean() / 2),
        effective_sample_size=mean_estimate(effective),
        low_share=float(np.mean(effective < LOW_EFFECTIVE_SAMPLE_SIZE)),
        num_samples=num_samples,
        curve=curve,
    )
