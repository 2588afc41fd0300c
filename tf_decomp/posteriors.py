# SPDX-License-Identifier: Apache-2.0
"""Posteriors q(z|x): heads, their aggregate q(z), and how they are sampled."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

# Far below the prior's scale of about 1, and float32 still resolves
# (z - loc) / scale to 1e-3 for |z| of 1.
SCALE_FLOOR = 1e-4


def positive_scale(raw: tf.Tensor) -> tf.Tensor:
    """Gives SCALE_FLOOR + softplus(raw), the one map from network outputs to scales."""
    return SCALE_FLOOR + tf.nn.softplus(raw)


class _Posterior(tfp.layers.DistributionLambda):
    """A head whose parameters [batch, 2 latent_dim] are loc and a raw scale."""

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        dtype = keras.config.dtype_policy().variable_dtype
        # The default conversion to a tensor would draw a sample at every call.
        super().__init__(
            self._distribution, tfd.Distribution.mean, **{"dtype": dtype, **kwargs}
        )
        self.latent_dim = latent_dim

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Number of network outputs that the head needs."""
        return 2 * latent_dim

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class NormalPosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> diagonal normal q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to NormalPrior is exact. Call it inside a `keras.Model`'s `call`.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: Arguments of the TFP layer; `dtype` follows Keras's policy, but is
            never below float32.

    Example:
        >>> NormalPosterior(2)(tf.zeros([5, NormalPosterior.params_size(2)]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(loc, scale)


class LaplacePosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> independent Laplace q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to every prior of this package is Monte Carlo.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: As of NormalPosterior.

    Example:
        >>> LaplacePosterior(2)(tf.zeros([5, LaplacePosterior.params_size(2)]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Laplace(loc, scale), 1)


class LocationScale(NamedTuple):
    """A posterior of the form z = loc + scale * noise, taken apart.

    Attributes:
        loc: [batch, latent_dim].
        scale: [batch, latent_dim].
        noise: The standard member of the family, one number an event.
    """

    loc: tf.Tensor
    scale: tf.Tensor
    noise: tfd.Distribution


def location_scale(posterior: tfd.Distribution) -> LocationScale | None:
    """Takes a diagonal location-scale posterior apart; gives None for any other.

    Args:
        posterior: MultivariateNormalDiag, or Independent of Normal, Laplace,
            Logistic or Gumbel.

    Example:
        >>> location_scale(tfd.MultivariateNormalDiag(tf.zeros([5, 2]))).scale
    """
    if isinstance(posterior, tfd.MultivariateNormalDiag):
        return _apart(posterior.mean(), posterior.stddev(), tfd.Normal)
    inner = posterior.distribution if isinstance(posterior, tfd.Independent) else None
    for family in (tfd.Normal, tfd.Laplace, tfd.Logistic, tfd.Gumbel):
        if isinstance(inner, family):
            return _apart(inner.loc, inner.scale, family)
    return None


def plain(distribution: tfd.Distribution) -> tfd.Distribution:
    """Gives the distribution as a composite tensor whose parameters have full shape.

    It takes off the tensor coercion of TFP's layers (which makes `tf.function`
    retrace at every call) and broadcasts the parameters of location-scale families,
    so that each has the batch as its first axis.

    Args:
        distribution: Coerced or not.
    """
    distribution = getattr(distribution, "tensor_distribution", distribution)
    if not isinstance(distribution, tfd.Independent):
        return distribution
    parts = location_scale(distribution)
    if parts is None:
        return distribution
    full = type(parts.noise)(parts.loc, parts.scale)
    return tfd.Independent(full, distribution.reinterpreted_batch_ndims)


def draw_noise(
    distribution: tfd.Distribution, sample_shape: Sequence[Any], seed: tf.Tensor
) -> tf.Tensor:
    """Draws what `sample_with` turns into samples of any member of the family.

    Standard noise [*sample_shape, latent_dim] of a location-scale family, drawn here
    because the same seed gives other numbers inside a function compiled by XLA.
    Of other families the seed itself, from which `sample_with` draws.

    Args:
        distribution: Any member of the family, event shape [latent_dim].
        sample_shape: Of the samples, the batch axis included.
        seed: Stateless seed [2].
    """
    parts = location_scale(distribution)
    if parts is None:
        return seed
    latent_dim = distribution.event_shape[0]
    return parts.noise.sample([*sample_shape, latent_dim], seed=seed)


def sample_with(
    distribution: tfd.Distribution, sample_shape: Sequence[Any], noise: tf.Tensor
) -> tf.Tensor:
    """Gives reparameterised samples [*sample_shape, *batch, latent_dim].

    Args:
        distribution: Batch shape [] or [batch], event shape [latent_dim].
        sample_shape: Of the samples, without the batch axis.
        noise: From `draw_noise` of the same family.
    """
    parts = location_scale(distribution)
    if parts is None:
        return distribution.sample(sample_shape, seed=noise)
    return parts.loc + parts.scale * noise


def aggregate_posterior(posterior: tfd.Distribution) -> tfd.Distribution:
    """Gives q(z) = (1/B) sum_i q(z|x_i), the batch's aggregate encoding.

    A uniform mixture with batch shape []. Its `log_prob` of [S, latent_dim] holds
    [S, B, latent_dim] numbers unless XLA compiles it.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].

    Example:
        >>> aggregate_posterior(vae.encode(x)).sample(10)
    """
    parts = plain(posterior)
    weights = tfd.Categorical(logits=tf.zeros(parts.batch_shape_tensor(), parts.dtype))
    return tfd.MixtureSameFamily(weights, parts)


def _apart(loc: tf.Tensor, scale: tf.Tensor, family: type) -> LocationScale:
    shape = tf.broadcast_dynamic_shape(tf.shape(loc), tf.shape(scale))
    zero = tf.zeros([], loc.dtype)
    return LocationScale(
        tf.broadcast_to(loc, shape),
        tf.broadcast_to(scale, shape),
        family(zero, zero + 1),
    )
