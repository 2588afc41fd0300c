# SPDX-License-Identifier: Apache-2.0
"""Divergences: KL(q(z|x) || p(z)), and D(q(z), p(z)) on the aggregate."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.pairwise import aggregate_log_prob, sum_of_mmds
from tf_decomp.priors import Prior
from tf_decomp.sampling import plain


def kl_divergence(
    posterior: tfd.Distribution, prior: tfd.Distribution | Prior, latents: tf.Tensor
) -> tf.Tensor:
    """Gives KL(q(z|x) || p(z)) [batch], in nats.

    Exact where TFP registers the pair (NormalPosterior to NormalPrior, and to the
    other priors at their normal limits); `latents` are then unused. Otherwise the
    unbiased Monte Carlo mean of log q(z|x) - log p(z) over the leading axes of
    `latents`; the prior's joint density counts once.

    Args:
        posterior: Batch shape [batch], event shape [latent_dim].
        prior: Batch shape [], event shape [latent_dim].
        latents: [..., batch, latent_dim] reparameterised samples of the posterior.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))
        >>> kl_divergence(q, NormalPrior(2), q.sample(1))
    """
    q, p = plain(posterior), _distribution(prior)
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:
        log_ratio = q.log_prob(latents) - p.log_prob(latents)
        return tf.reduce_mean(log_ratio, axis=range(latents.shape.rank - 2))


def inclusive_kl(
    prior_samples: tf.Tensor,
    prior: tfd.Distribution | Prior,
    posterior: tfd.Distribution,
) -> tf.Tensor:
    """Gives an estimate of KL(p(z) || q(z)) [], in nats: Section 6.2.

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

    Example:
        >>> inclusive_kl(prior.distribution.sample(400), prior, vae.encode(x))
    """
    log_p = _distribution(prior).log_prob(prior_samples)
    return tf.reduce_mean(log_p - aggregate_log_prob(posterior, prior_samples))


def dimensionwise_mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    bandwidths: Sequence[float] = (0.2, 0.4, 1, 2, 4, 10),
) -> tf.Tensor:
    """Gives the squared MMD between marginals, summed over dimensions []: Section 6.3.

    The unbiased U-statistic, so it may be negative and is never clipped, summed over
    the dimensions d and over kernels c / (c + (x_d - y_d)^2). Its variance falls as
    1/B. A set of one element has no within-term. No unit. Memory [B, B].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        bandwidths: The constants c.

    Example:
        >>> dimensionwise_mmd(tf.random.normal([500, 4]), tf.random.normal([500, 4]))
    """
    return sum_of_mmds(x, y, tuple(float(c) for c in bandwidths))


@keras.saving.register_keras_serializable("tf_decomp")
def inclusive_kl_divergence(
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    latents: tf.Tensor,
    prior_samples: tf.Tensor,
) -> tf.Tensor:
    """Gives `inclusive_kl` in the calling form of DIVERGENCES.

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
    """Gives `dimensionwise_mmd` in the calling form of DIVERGENCES.

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


def _distribution(prior: tfd.Distribution | Prior) -> tfd.Distribution:
    return prior.distribution if isinstance(prior, Prior) else plain(prior)
