# SPDX-License-Identifier: Apache-2.0
"""How distributions over latents are taken apart and sampled, from stateless seeds.

All noise is a function of a base seed, a stream and a counter.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd


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
    """Takes a diagonal location-scale posterior apart; returns None for any other.

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
    """Returns the distribution as a composite tensor whose parameters have full shape.

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


def stateless_seed(seed: int | None, stream: int = 0) -> tf.Tensor | None:
    """Returns the stateless seed [2] of one stream of a base seed.

    Args:
        seed: Base seed; None stays None, with which TFP draws anew at each call.
        stream: Different streams give independent numbers.

    Example:
        >>> tfd.Normal(0.0, 1.0).sample(3, seed=stateless_seed(0))
    """
    if seed is None:
        return None
    return tf.random.fold_in(tf.constant([seed, 0], tf.int32), stream)


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
    """Returns reparameterised samples [*sample_shape, *batch, latent_dim].

    Args:
        distribution: Batch shape [] or [batch], event shape [latent_dim].
        sample_shape: Of the samples, without the batch axis.
        noise: From `draw_noise` of the same family.
    """
    parts = location_scale(distribution)
    if parts is None:
        return distribution.sample(sample_shape, seed=noise)
    return parts.loc + parts.scale * noise


def join(posteriors: Sequence[tfd.Distribution]) -> tfd.Distribution:
    """Returns posteriors of one family, batch shapes [n_1], [n_2], ..., as one [n].

    Args:
        posteriors: Every parameter of each has the batch as its first axis.
    """
    parts = [plain(posterior) for posterior in posteriors]
    params = [tf.nest.flatten(part, expand_composites=True) for part in parts]
    joined = [tf.concat(param, axis=0) for param in zip(*params, strict=True)]
    return tf.nest.pack_sequence_as(parts[0], joined, expand_composites=True)


def _apart(loc: tf.Tensor, scale: tf.Tensor, family: type) -> LocationScale:
    shape = tf.broadcast_dynamic_shape(tf.shape(loc), tf.shape(scale))
    zero = tf.zeros([], loc.dtype)
    return LocationScale(
        tf.broadcast_to(loc, shape),
        tf.broadcast_to(scale, shape),
        family(zero, zero + 1),
    )
