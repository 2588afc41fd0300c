# SPDX-License-Identifier: Apache-2.0
"""Moment matching: the covariance of q(z), or of the encodings' means, against 1."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_real_number
from tf_decomp.divergences.calling_form import in_calling_form
from tf_decomp.errors import InputError
from tf_decomp.sampling import plain


def dip_vae_i(posterior: tfd.Distribution, diagonal: float = 10.0) -> tf.Tensor:
    """Returns DIP-VAE-I's distance of Cov_x[E[z|x]] from the identity [].

    With C that covariance, sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2, the
    penalty of Kumar et al. 2018 over lambda_od: alpha = lambda_od and diagonal =
    lambda_d / lambda_od. It asks for uncorrelated means of variance 1, whatever
    the prior is. No unit. The batch's covariance divides by B; C_ij^2 is biased
    upwards by about C_ii C_jj / B.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        diagonal: Weight of the variances, >= 0.

    Raises:
        InputError: The posterior's mean is not known, or the weight is below 0.

    Example:
        >>> dip_vae_i(vae.encode(x))
    """
    return _distance("dip_vae_i", _covariance_of_means(posterior), diagonal)


def dip_vae_ii(posterior: tfd.Distribution, diagonal: float = 1.0) -> tf.Tensor:
    """Returns DIP-VAE-II's distance of Cov[z] from the identity [], z from q(z).

    As `dip_vae_i`, with C = Cov_x[E[z|x]] + E_x[Cov[z|x]], the
    covariance of the aggregate.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        diagonal: Weight of the variances, >= 0.

    Raises:
        InputError: As of `dip_vae_i`, or the posterior's covariance is not known.

    Example:
        >>> dip_vae_ii(vae.encode(x))
    """
    within = tf.reduce_mean(_moment(posterior, "covariance"), axis=0)
    covariance = _covariance_of_means(posterior) + within
    return _distance("dip_vae_ii", covariance, diagonal)


dip_vae_i_divergence = in_calling_form(
    dip_vae_i,
    lambda posterior, prior, latents, prior_samples: dip_vae_i(posterior),
    least_batch=2,
)


dip_vae_ii_divergence = in_calling_form(
    dip_vae_ii,
    lambda posterior, prior, latents, prior_samples: dip_vae_ii(posterior),
    least_batch=2,
)


def _covariance_of_means(posterior: tfd.Distribution) -> tf.Tensor:
    means = _moment(posterior, "mean")
    centred = means - tf.reduce_mean(means, axis=0)
    size = tf.cast(tf.shape(means)[0], means.dtype)
    return tf.matmul(centred, centred, transpose_a=True) / size


def _moment(posterior: tfd.Distribution, name: str) -> tf.Tensor:
    """Returns a posterior's mean or covariance [B, latent_dim, ...]."""
    q = plain(posterior)
    try:
        # Of independent dimensions TFP gives the variances alone.
        if name == "covariance" and type(q) is tfd.Independent:
            return tf.linalg.diag(q.variance())
        return getattr(q, name)()
    except NotImplementedError:
        raise InputError(
            f"dip_vae: a {type(q).__name__} tells no {name}; choose another "
            "divergence, or a posterior that does"
        ) from None


def _distance(name: str, covariance: tf.Tensor, diagonal: float) -> tf.Tensor:
    weight = check_real_number(f"{name}: diagonal", diagonal, least=0)
    variances = tf.linalg.diag_part(covariance)
    off = tf.linalg.set_diag(covariance, tf.zeros_like(variances))
    return tf.reduce_sum(off**2) + weight * tf.reduce_sum((variances - 1) ** 2)
