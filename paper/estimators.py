# SPDX-License-Identifier: Apache-2.0
"""Bias and spread of estimates of D from minibatches, where the truth is known.

The case: n data with encodings q(z|x_i) = N(mu_i, s^2 I), mu_i from N(0, t^2 - s^2), so
that the aggregate of all of them is near N(0, t^2 I), against the prior N(0, I). With
t^2 = 1.5, s^2 = 0.225 and latent_dim 10 it is like dSprites, where I(x; z) is 9.5 nats
too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp
from tensorflow_probability import distributions as tfd

from paper.statistics import mean_number
from paper.table import Row
from tf_decomp.divergences import (
    DIVERGENCES,
    AdversarialDivergence,
    TotalCorrelation,
    dimensionwise_mmd,
    inclusive_kl,
    joint_mmd,
)
from tf_decomp.posteriors import aggregate_log_prob

# Divergences of related work; those that are learnt, or know the support alone.
RELATED = (
    "joint_mmd",
    "sliced_wasserstein",
    "dip_vae_i",
    "dip_vae_ii",
    "total_correlation_weighted",
    "total_correlation_stratified",
)
LEARNT = ("adversarial_kl", "adversarial_total_correlation", "hausdorff_support")
# An adversary's steps of its own optimiser before it is asked, each on a new batch.
ADVERSARY_STEPS = 1000
# The support's distance costs the batch's cube for every pair of dimensions.
_TRIPLES = 10**9
_VARIANCE = 0.225
_AGGREGATE_VARIANCE = 1.5
# Repetitions fall with the batch size, within bounds: a batch costs its square.
_PAIRS = 50_000


class _Size(NamedTuple):
    """How much is computed at a scale."""

    latent_dims: tuple[int, ...]
    n: int
    batch_sizes: tuple[int, ...]
    repetitions: tuple[int, int]
    truth_samples: int


class _Batch(NamedTuple):
    """Means of the encodings, and samples of q(z) and p(z), each [B, latent_dim]."""

    means: np.ndarray
    z: np.ndarray
    y: np.ndarray


_SIZES = {
    "smoke": _Size((10,), 1000, (64,), (4, 4), 200),
    "cpu": _Size((2, 10), 50_000, tuple(2**k for k in range(4, 13)), (10, 200), 20_000),
}
_SIZES["paper"] = _SIZES["cpu"]


def estimator_rows(scale: str, seed: int) -> list[Row]:
    """Returns bias and spread of each estimator at each batch size.

    Args:
        scale: One of SCALES.
        seed: Of everything.
    """
    size = _SIZES[scale]
    return [
        {"scale": scale, **row}
        for rows_of in (_case_rows, _related_rows, _learnt_rows)
        for latent_dim in size.latent_dims
        for row in rows_of(size, latent_dim, seed)
    ]


def log_aggregates(log_densities: np.ndarray, num_data: int) -> dict[str, np.ndarray]:
    """Returns estimates of log q(z_i) [B], z_i ~ q(z|x_i), from one minibatch.

    q(z) is the aggregate of all data. The naive mixture takes the batch for all data.
    Of Chen et al. 2018 are minibatch weighted sampling, in which the batch's sum is
    divided by B times the number of data, and stratified sampling, in which a code's
    own datum has its true weight and the others share the rest (here equally); its
    density, though not the logarithm, is unbiased.

    Args:
        log_densities: [B, B] log q(z_i|x_j); B distinct data.
        num_data: How many data there are.
    """
    size = len(log_densities)
    naive = logsumexp(log_densities, axis=1) - np.log(size)
    own = np.eye(size, dtype=bool)
    # Their own datum has its true weight; the others share what is left.
    shares = np.where(own, 1 / num_data, (num_data - 1) / num_data / (size - 1))
    return {
        "naive_mixture": naive,
        "weighted_sampling": naive - np.log(num_data),
        "stratified_sampling": logsumexp(log_densities, axis=1, b=shares),
    }


def aggregate_kl(latent_dim: int) -> float:
    """Returns KL(N(0, t^2 I) || N(0, I)), the truth of infinitely many data.

    Args:
        latent_dim: Number of dimensions.
    """
    variance = _AGGREGATE_VARIANCE
    return latent_dim * (variance - 1 - float(np.log(variance))) / 2


def _case_rows(size: _Size, latent_dim: int, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng([seed, latent_dim])
    means = _means(size.n, latent_dim, rng)
    truths = _truths(means, size, rng)
    for batch_size in size.batch_sizes:
        repetitions = int(np.clip(_PAIRS // batch_size, *size.repetitions))
        draws = [_estimates(means, batch_size, rng) for _ in range(repetitions)]
        yield from _bias_rows(latent_dim, batch_size, truths, draws)


def _bias_rows(
    latent_dim: int,
    batch_size: int,
    truths: Mapping[str, tuple[float, float]],
    draws: Sequence[Mapping[str, float]],
) -> Iterator[Row]:
    """Yields a row for each estimator, from its values in minibatches."""
    for estimator, (truth, truth_error) in truths.items():
        bias = mean_number("bias", (draw[estimator] - truth for draw in draws))
        error = float(np.hypot(bias.standard_error, truth_error))
        yield {
            "estimator": estimator,
            "latent_dim": latent_dim,
            "batch_size": batch_size,
            "truth": truth,
            "truth_standard_error": truth_error,
            "bias": bias.value,
            "bias_standard_error": error,
            "deviation": bias.standard_error * bias.n**0.5,
            "n": bias.n,
        }


def _related_rows(size: _Size, latent_dim: int, seed: int) -> Iterator[Row]:
    """Yields the rows of the divergences of related work, from data of their own."""
    rng = np.random.default_rng([seed, latent_dim, 1])
    means = _means(size.n, latent_dim, rng)
    truths, prior = _related_truths(means, size, rng), _prior(latent_dim)
    for batch_size in size.batch_sizes:
        repetitions = int(np.clip(_PAIRS // batch_size, *size.repetitions))
        draws = [
            _related_values(RELATED, _draw(means, batch_size, rng), size.n, prior)
            for _ in range(repetitions)
        ]
        yield from _bias_rows(latent_dim, batch_size, truths, draws)


def _learnt_rows(size: _Size, latent_dim: int, seed: int) -> Iterator[Row]:
    """Yields the rows of adversaries trained on batches of a size, and of the support.

    The support of q(z) is all of R^d, a product, so that the truth of the latter is 0.
    """
    rng = np.random.default_rng([seed, latent_dim, 2])
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    means = _means(size.n, latent_dim, rng)
    prior, everyone = _prior(latent_dim), _posterior(means)
    z = _draw(means, min(size.truth_samples, size.n), rng).z
    truths = {
        "adversarial_kl": mean_number(
            "", (aggregate_log_prob(everyone, z) - prior.log_prob(z)).numpy()
        ),
        "adversarial_total_correlation": mean_number("", _log_ratios(means, z)),
    }
    known = {n: (truth.value, truth.standard_error) for n, truth in truths.items()}
    known["hausdorff_support"] = (0.0, 0.0)
    pairs = latent_dim * (latent_dim - 1) / 2
    for batch_size in size.batch_sizes:
        calls: dict[str, Any] = {
            "adversarial_kl": _adversary("prior", means, batch_size, rng),
            "adversarial_total_correlation": _adversary(
                "marginals", means, batch_size, rng
            ),
        }
        if pairs * batch_size**3 <= _TRIPLES:
            calls["hausdorff_support"] = DIVERGENCES["hausdorff_support"]
        repetitions = int(np.clip(_PAIRS // batch_size, *size.repetitions))
        draws = []
        for _ in range(repetitions):
            batch = _draw(means, batch_size, rng)
            given = _posterior(batch.means), prior, batch.z, batch.y
            draws.append({name: float(call(*given)) for name, call in calls.items()})
        yield from _bias_rows(
            latent_dim, batch_size, {name: known[name] for name in calls}, draws
        )


def _adversary(
    reference: str, means: np.ndarray, batch_size: int, rng: np.random.Generator
) -> AdversarialDivergence:
    """Returns an adversary after its steps on batches of a size."""
    divergence = AdversarialDivergence(means.shape[1], reference)
    optimizer, variables = divergence.learner

    @tf.function(autograph=False, reduce_retracing=True)
    def step(z: tf.Tensor, y: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = divergence.adversary_loss(z, y)
        optimizer.apply(tape.gradient(loss, variables), variables)

    for _ in range(ADVERSARY_STEPS):
        batch = _draw(means, batch_size, rng)
        step(tf.constant(batch.z), tf.constant(batch.y))
    return divergence


def _related_values(
    names: Iterable[str], batch: _Batch, num_data: int, prior: tfd.Distribution
) -> dict[str, float]:
    """Returns divergences of a batch, as a model calls them."""
    calls: dict[str, Any] = {**DIVERGENCES, **_total_correlations(num_data)}
    posterior = _posterior(batch.means)
    return {n: float(calls[n](posterior, prior, batch.z, batch.y)) for n in names}


def _total_correlations(num_data: int) -> dict[str, TotalCorrelation]:
    return {
        f"total_correlation_{sampling}": TotalCorrelation(num_data, sampling)
        for sampling in ("weighted", "stratified")
    }


def _related_truths(
    means: np.ndarray, size: _Size, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Returns what each is for, of all data, with its standard error."""
    n, latent_dim = means.shape
    prior = _prior(latent_dim)
    everyone = _Batch(means, means, means)
    moments = _related_values(("dip_vae_i", "dip_vae_ii"), everyone, n, prior)
    rows = rng.integers(n, size=size.truth_samples)
    noise = rng.normal(size=(2, size.truth_samples, latent_dim)).astype(np.float32)
    z, y = means[rows] + np.float32(_VARIANCE**0.5) * noise[0], noise[1]
    mmd = mean_number("", [float(joint_mmd(*pair)) for pair in _parts(z, y)])
    correlation = mean_number("", _log_ratios(means, z))
    of_correlation = (correlation.value, correlation.standard_error)
    return {
        "joint_mmd": (mmd.value, mmd.standard_error),
        # Of any direction, of infinitely many data.
        "sliced_wasserstein": ((_AGGREGATE_VARIANCE**0.5 - 1) ** 2, 0.0),
        **{name: (value, 0.0) for name, value in moments.items()},
        "total_correlation_weighted": of_correlation,
        "total_correlation_stratified": of_correlation,
    }


def _log_ratios(means: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns log q(z) / prod_d q(z_d) [n] of codes; the mean is the correlation."""
    ratios = aggregate_log_prob(_posterior(means), z).numpy().astype(float)
    for d in range(means.shape[1]):
        marginal = _posterior(means[:, d : d + 1])
        ratios -= aggregate_log_prob(marginal, z[:, d : d + 1]).numpy()
    return ratios


def _truths(
    means: np.ndarray, size: _Size, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Returns what each estimator is for, of all data, with its standard error."""
    posterior, prior = _posterior(means), _prior(means.shape[1])
    noise = rng.normal(size=(2, size.truth_samples, means.shape[1]))
    chosen = means[rng.integers(len(means), size=size.truth_samples)]
    z = (chosen + _VARIANCE**0.5 * noise[0]).astype(np.float32)
    y = noise[1].astype(np.float32)
    kls = aggregate_log_prob(posterior, z) - prior.log_prob(z)
    inclusive = prior.log_prob(y) - aggregate_log_prob(posterior, y)
    kl, other = (mean_number("", values.numpy()) for values in (kls, inclusive))
    # The U-statistic of as many rows as fit is unbiased; its halves tell its error.
    halves = [float(dimensionwise_mmd(*pair)) for pair in _parts(z, y)]
    mmd = mean_number("", halves)
    of_kl = (kl.value, kl.standard_error)
    return {
        "naive_mixture": of_kl,
        "weighted_sampling": of_kl,
        "stratified_sampling": of_kl,
        "inclusive_kl": (other.value, other.standard_error),
        "dimensionwise_mmd": (mmd.value, mmd.standard_error),
    }


def _parts(z: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    parts = max(4, len(z) // 2000)
    yield from zip(np.array_split(z, parts), np.array_split(y, parts), strict=True)


def _estimates(
    means: np.ndarray, batch_size: int, rng: np.random.Generator
) -> dict[str, float]:
    """Returns every estimate from one minibatch of distinct data."""
    batch, z, y = _draw(means, batch_size, rng)
    prior = _prior(means.shape[1])
    log_p = prior.log_prob(z).numpy().astype(float)
    logs = log_aggregates(_log_densities(z, batch), len(means))
    kls = {name: float(np.mean(log_q - log_p)) for name, log_q in logs.items()}
    return {
        **kls,
        "inclusive_kl": float(inclusive_kl(y, prior, _posterior(batch))),
        "dimensionwise_mmd": float(dimensionwise_mmd(z, y)),
    }


def _means(n: int, latent_dim: int, rng: np.random.Generator) -> np.ndarray:
    spread = (_AGGREGATE_VARIANCE - _VARIANCE) ** 0.5
    return (spread * rng.normal(size=(n, latent_dim))).astype(np.float32)


def _draw(means: np.ndarray, batch_size: int, rng: np.random.Generator) -> _Batch:
    batch = means[rng.choice(len(means), batch_size, replace=False)]
    noise = rng.normal(size=(2, *batch.shape)).astype(np.float32)
    return _Batch(batch, batch + np.float32(_VARIANCE**0.5) * noise[0], noise[1])


def _log_densities(z: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns log q(z_i|x_j) [B, B] without an array [B, B, latent_dim]."""
    z, means = z.astype(float), means.astype(float)
    squares = (z**2).sum(1)[:, None] + (means**2).sum(1) - 2 * z @ means.T
    logs = np.log(2 * np.pi * _VARIANCE) * z.shape[1] + squares / _VARIANCE
    return -logs / 2


def _posterior(means: np.ndarray) -> tfd.Distribution:
    scales = tf.fill(means.shape, np.float32(_VARIANCE**0.5))
    return tfd.MultivariateNormalDiag(means, scales)


def _prior(latent_dim: int) -> tfd.Distribution:
    zeros = tf.zeros(latent_dim)
    return tfd.MultivariateNormalDiag(zeros, tf.ones(latent_dim))
