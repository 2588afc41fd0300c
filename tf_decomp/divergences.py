# SPDX-License-Identifier: Apache-2.0
"""Divergences: KL(q(z|x) || p(z)), and D(q(z), p(z)) on the aggregate."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.distributions import kullback_leibler

from tf_decomp.checks import positive_numbers, short
from tf_decomp.errors import InputError
from tf_decomp.pairwise import differentiable_once, map_rows
from tf_decomp.posteriors import aggregate_log_prob, check_points
from tf_decomp.priors import Prior
from tf_decomp.sampling import of_tfp, plain
from tf_decomp.tracing import compiled

# Kernels are below 1e-7 there, and products of denominators stay in float32's range.
_FAR = 1e9

_MMD = (
    "the dimension-wise MMD must be differentiated once; received a request for a "
    "second derivative; take finite differences of the gradient"
)


def kl_divergence(
    posterior: tfd.Distribution, prior: tfd.Distribution | Prior, latents: tf.Tensor
) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)) [batch], in nats.

    Exact where `closed_form_kl` is known (NormalPosterior to NormalPrior, and to the
    other priors at their normal limits); `latents` are then unused. Otherwise the
    unbiased Monte Carlo mean of log q(z|x) - log p(z) over the leading axes of
    `latents`; the prior's joint density counts once.

    Args:
        posterior: Batch shape [batch], event shape [latent_dim].
        prior: Batch shape [], event shape [latent_dim].
        latents: [..., batch, latent_dim] reparameterised samples of the posterior.

    Raises:
        InputError: Shapes or types do not fit each other.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))
        >>> kl_divergence(q, NormalPrior(2), q.sample(1))
    """
    q, p = _pair("kl_divergence", posterior, prior)
    exact = closed_form_kl(q, p)
    if exact is not None:
        return exact
    latents = check_points("kl_divergence: latents", latents, q)
    log_ratio = q.log_prob(latents) - p.log_prob(latents)
    return tf.reduce_mean(log_ratio, axis=range(latents.shape.rank - 2))


def closed_form_kl(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor | None:
    """Returns KL(q || p) [batch] where TFP registers one for these very classes.

    None elsewhere, so for a subclass too: its densities may be others than those of its
    base, whose KL TFP would take. One that a user registers for it counts.

    Args:
        q: Plain.
        p: Plain.

    Example:
        >>> closed_form_kl(tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0))  # 0.5
    """
    if not _is_registered(q, p):
        return None
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:  # of the distributions inside them
        return None


def inclusive_kl(
    prior_samples: tf.Tensor,
    prior: tfd.Distribution | Prior,
    posterior: tfd.Distribution,
) -> tf.Tensor:
    """Returns an estimate of KL(p(z) || q(z)) [], in nats: Section 6.2.

    The mean over the samples of log p(z) - log((1/B) sum_i q(z|x_i)). Unbiased for
    the batch's own aggregate; as an estimate of the divergence to the aggregate of
    all data it is biased upwards, by about the variance of the batch's density
    relative to its square over 2B, which small batches make large (true 0.040:
    0.088 at B = 256, 1.5 at B = 16). Memory [S, B], never [S, B, latent_dim].

    Args:
        prior_samples: [S, latent_dim] samples of the prior, reparameterised if it
            learns.
        prior: Batch shape [], event shape [latent_dim].
        posterior: Batch shape [B], event shape [latent_dim].

    Raises:
        InputError: Shapes or types do not fit each other, or as of
            `aggregate_log_prob`.

    Example:
        >>> inclusive_kl(prior.distribution.sample(400), prior, vae.encode(x))
    """
    _, p = _pair("inclusive_kl", posterior, prior)
    z = check_points("inclusive_kl: prior_samples", prior_samples, p, rank=2)
    return tf.reduce_mean(p.log_prob(z) - aggregate_log_prob(posterior, z))


def dimensionwise_mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    bandwidths: Sequence[float] = (0.2, 0.4, 1, 2, 4, 10),
) -> tf.Tensor:
    """Returns the squared MMD of marginals, summed over dimensions []: Section 6.3.

    The unbiased U-statistic, so it may be negative and is never clipped, summed over
    the dimensions d and over kernels c / (c + (x_d - y_d)^2). Its variance falls as
    1/B. A set of one element has no within-term. No unit. Memory [B, B].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        bandwidths: The constants c, positive.

    Raises:
        InputError: Shapes or types do not fit each other, the bandwidths are not
            positive, or a gradient of the result is differentiated again.

    Example:
        >>> dimensionwise_mmd(tf.random.normal([500, 4]), tf.random.normal([500, 4]))
    """
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    _check_sets(x, y)
    numbers = positive_numbers(bandwidths, x.dtype.name)
    if numbers is None or numbers.ndim != 1 or not numbers.size:
        raise InputError(
            "dimensionwise_mmd: bandwidths must be one or more positive numbers; "
            f"received {short(bandwidths)}"
        )
    constants = tuple(numbers.tolist())

    @tf.custom_gradient
    def mmd(x: tf.Tensor, y: tf.Tensor) -> Any:
        # The tape must not look inside: XLA's loops cannot give it what it asks for.
        fixed_x, fixed_y = tf.stop_gradient(x), tf.stop_gradient(y)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The statistic is symmetric; of a fixed prior the second is pruned.
            of_x = _mmd_gradient(fixed_x, fixed_y, constants)
            of_y = _mmd_gradient(fixed_y, fixed_x, constants)
            both = [differentiable_once(_MMD, each, [x, y]) for each in (of_x, of_y)]
            return upstream * both[0], upstream * both[1]

        return _mmd_value(fixed_x, fixed_y, constants), gradient

    return mmd(x, y)


@keras.saving.register_keras_serializable("tf_decomp")
def inclusive_kl_divergence(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    latents: tf.Tensor,
    prior_samples: tf.Tensor,
) -> tf.Tensor:
    """Returns `inclusive_kl` in the calling form of DIVERGENCES.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        prior: Batch shape [], event shape [latent_dim].
        latents: [B, latent_dim], one sample of each posterior; unused.
        prior_samples: [B, latent_dim].
    """
    return inclusive_kl(prior_samples, prior, posterior)


@keras.saving.register_keras_serializable("tf_decomp")
def dimensionwise_mmd_divergence(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    latents: tf.Tensor,
    prior_samples: tf.Tensor,
) -> tf.Tensor:
    """Returns `dimensionwise_mmd` in the calling form of DIVERGENCES.

    Args:
        posterior: Batch shape [B], event shape [latent_dim]; unused.
        prior: Batch shape [], event shape [latent_dim]; unused.
        latents: [B, latent_dim], one sample of each posterior.
        prior_samples: [B, latent_dim].
    """
    return dimensionwise_mmd(latents, prior_samples)


DIVERGENCES = {
    "inclusive_kl": inclusive_kl_divergence,
    "dimensionwise_mmd": dimensionwise_mmd_divergence,
}


def _pair(name: str, posterior: Any, prior: Any) -> tuple[Any, Any]:
    """Returns q(z|x) and p(z), plain, if they are of the same space."""
    p = prior.distribution if isinstance(prior, Prior) else prior
    for what, value in (("posterior", posterior), ("prior", p)):
        if not isinstance(value, tfd.Distribution):
            raise InputError(
                f"{name}: expected the {what} as a distribution; received a "
                f"{type(value).__name__}"
            )
    q, p = plain(posterior), plain(p)
    fits = q.event_shape.is_compatible_with(p.event_shape) and q.dtype == p.dtype
    if not fits or p.batch_shape.rank:
        raise InputError(
            f"{name}: expected a prior like the posterior, {q.dtype.name} with event "
            f"shape {q.event_shape}, and batch shape []; received {p.dtype.name}, "
            f"{p.event_shape} and {p.batch_shape}"
        )
    return q, p


def _is_registered(q: tfd.Distribution, p: tfd.Distribution) -> bool:
    if type(q) is type(p) is tfd.Independent:
        return _is_registered(q.distribution, p.distribution)
    families = [type(d).__mro__ if of_tfp(d) else (type(d),) for d in (q, p)]
    registered = kullback_leibler._DIVERGENCES
    return any(pair in registered for pair in itertools.product(*families))


def _check_sets(x: tf.Tensor, y: tf.Tensor) -> None:
    """Refuses what are not two sets of points of the same space."""
    are_sets = all(z.shape.rank == 2 and 0 not in z.shape for z in (x, y))
    fits = are_sets and x.shape[1:].is_compatible_with(y.shape[1:])
    if not fits or x.dtype != y.dtype or x.dtype not in (tf.float32, tf.float64):
        raise InputError(
            "dimensionwise_mmd: expected x [B, latent_dim] and y [M, latent_dim], both "
            f"float32 or both float64; received {x.dtype.name} {x.shape} and "
            f"{y.dtype.name} {y.shape}"
        )


@compiled
def _mmd_value(x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]) -> tf.Tensor:
    def mean_kernel(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # [latent_dim]
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            squares = tf.minimum((rows[:, None] - b[None]) ** 2, _FAR)
            kernels = [(c, c + squares) for c in bandwidths]
            return tf.reduce_mean(_sum_of_ratios(kernels, 3), axis=1)

        return tf.reduce_mean(map_rows(of_rows, a, tf.size(b)), axis=0)

    def within(a: tf.Tensor) -> tf.Tensor:
        # The n pairs of a point with itself have the kernel 1 and are left out.
        n = tf.cast(tf.shape(a)[0], a.dtype)
        return (n * mean_kernel(a, a) - len(bandwidths)) / tf.maximum(n - 1, 1)

    return tf.reduce_sum(within(x) + within(y) - 2 * mean_kernel(x, y))


@compiled
def _mmd_gradient(
    x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]
) -> tf.Tensor:
    """Returns d MMD / d x [B, latent_dim]."""

    def slopes(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # sum_j dk(a_i, b_j)/da_i
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            steps = b[None] - rows[:, None]
            squares = tf.minimum(steps**2, _FAR)
            slopes = [(2 * c, (c + squares) ** 2) for c in bandwidths]
            return tf.reduce_sum(steps * _sum_of_ratios(slopes, 2), axis=1)

        return map_rows(of_rows, a, tf.size(b))

    n = tf.cast(tf.shape(x)[0], x.dtype)
    m = tf.cast(tf.shape(y)[0], x.dtype)
    within = slopes(x, x) / tf.maximum(n - 1, 1)
    return 2 / n * (within - slopes(x, y) / m)


def _sum_of_ratios(ratios: list[tuple[float, tf.Tensor]], group: int) -> tf.Tensor:
    """Returns the sum of c / d, with one division (the slow operation) a group."""
    total = tf.zeros_like(ratios[0][1])
    for start in range(0, len(ratios), group):
        numerator, denominator = tf.zeros_like(total), tf.ones_like(total)
        for c, d in ratios[start : start + group]:
            numerator, denominator = numerator * d + c * denominator, denominator * d
        total += numerator / denominator
    return total
