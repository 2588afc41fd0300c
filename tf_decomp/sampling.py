# SPDX-License-Identifier: Apache-2.0
"""How distributions over latents are taken apart and sampled, from stateless seeds.

All noise is a function of a base seed, a stream and a counter.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.layers.internal import distribution_tensor_coercible

from tf_decomp.errors import InputError
from tf_decomp.flows import FlowNormal

# What TFP's layers return: a distribution that TensorFlow takes for a tensor.
_COERCED = distribution_tensor_coercible._TensorCoercible
_FAMILIES = (tfd.Normal, tfd.Laplace, tfd.Logistic, tfd.Gumbel)


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

    A subclass, whose methods may be others, is another.

    Args:
        posterior: MultivariateNormalDiag, or Independent of Normal, Laplace,
            Logistic or Gumbel.

    Example:
        >>> location_scale(tfd.MultivariateNormalDiag(tf.zeros([5, 2]))).scale
    """
    if type(posterior) is tfd.MultivariateNormalDiag:
        return _apart(posterior.mean(), posterior.stddev(), tfd.Normal)
    independent = type(posterior) is tfd.Independent
    inner: Any = posterior.distribution if independent else None
    if type(inner) in _FAMILIES:
        return _apart(inner.loc, inner.scale, type(inner))
    return None


def plain(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution as a composite tensor whose parameters have full shape.

    It takes off the tensor coercion of TFP's layers (which makes `tf.function`
    retrace at every call) and broadcasts the parameters of location-scale families,
    so that each has the batch as its first axis. Others, among them all subclasses,
    are what they were.

    Args:
        distribution: Coerced or not.
    """
    distribution = _uncoerced(distribution)
    if type(distribution) is not tfd.Independent:
        return distribution
    parts = location_scale(distribution)
    if parts is None:
        return distribution
    inner = _changed(distribution.distribution, loc=parts.loc, scale=parts.scale)
    return _changed(distribution, distribution=inner)


def batch_first(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution with the batch as every parameter's first axis.

    So parameters of many can be joined, gathered or taken in chunks.

    Args:
        distribution: Plain, batch shape [batch].

    Raises:
        InputError: It is no composite tensor.

    Example:
        >>> heavy = tfd.StudentT(5.0, tf.zeros([4, 2]), 1.0)
        >>> batch_first(tfd.Independent(heavy, 1)).distribution.df.shape  # [4, 2]
    """
    if not isinstance(distribution, tf.__internal__.CompositeTensor):
        raise InputError(
            "posterior: its parameters are joined over batches and replicas, and "
            f"those of a {type(distribution).__name__} are not known; derive the class "
            "from tfp.distributions.AutoCompositeTensorDistribution"
        )
    before = _parameters(distribution)
    if len({tuple(param.shape) for param in before}) == 1:
        return distribution
    batch_shape = distribution.batch_shape_tensor()
    full = distribution._broadcast_parameters_with_batch_shape(batch_shape)
    for param, old in zip(_parameters(full), before, strict=True):
        # In a graph TFP forgets the lengths of the other axes.
        known = [None if size == 1 else size for size in old.shape[1:]]
        if param.shape.rank == old.shape.rank > 0:
            param.set_shape([None, *known])
    return full


def of_tfp(distribution: tfd.Distribution) -> bool:
    """Returns whether TFP defines its class and those of the distributions inside it.

    What is known about a class of TFP's need not hold for a user's subclass of it.

    Args:
        distribution: Any.

    Example:
        >>> of_tfp(tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1))  # True
    """
    distribution = _uncoerced(distribution)
    inside = tf.nest.flatten(list(distribution.parameters.values()))
    return type(distribution).__module__.startswith(f"{tfp.__name__}.") and all(
        of_tfp(part) for part in inside if isinstance(part, tfd.Distribution)
    )


def one_or_nan(x: tf.Tensor) -> tf.Tensor:
    """Returns 1 for each example, but NaN where it holds NaN or infinity [batch].

    Where ReLU turns NaN into 0, as it does in a graph, it would be taken for data.

    Args:
        x: [batch, ...].
    """
    return 1 + tf.reduce_sum(x - x, list(range(1, x.shape.rank)))


def scaled(posterior: tfd.Distribution, factor: tf.Tensor) -> tfd.Distribution:
    """Returns a posterior with loc and scale, or Cholesky factor, multiplied.

    That is a location-scale, multivariate normal or flow one; others stay as they are.

    Args:
        posterior: Plain, batch shape [batch], event shape [latent_dim].
        factor: [batch].
    """
    if type(posterior) is tfd.MultivariateNormalTriL:
        tril = posterior.parameters["scale_tril"] * factor[:, None, None]
        return tfd.MultivariateNormalTriL(posterior.mean() * factor[:, None], tril)
    if type(posterior) is FlowNormal:
        loc, scale = (p * factor[:, None] for p in (posterior.loc, posterior.scale))
        return _changed(posterior, loc=loc, scale=scale)
    parts = location_scale(posterior)
    if parts is None:
        return posterior
    loc, scale = (part * factor[:, None] for part in (parts.loc, parts.scale))
    if type(posterior) is tfd.MultivariateNormalDiag:
        return tfd.MultivariateNormalDiag(loc, scale)
    inner = _changed(posterior.distribution, loc=loc, scale=scale)
    return _changed(posterior, distribution=inner)


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


def standard_noise(distribution: tfd.Distribution) -> tfd.Distribution | None:
    """Returns what one number of the noise of samples is distributed as, if known.

    It is for location-scale families and flows of a normal; None for any other, whose
    samples come from a seed.

    Args:
        distribution: Any member of the family, event shape [latent_dim].

    Example:
        >>> standard_noise(tfd.MultivariateNormalDiag(tf.zeros([5, 2])))  # N(0, 1)
    """
    if type(distribution) is FlowNormal:
        zero = tf.zeros([], distribution.dtype)
        return tfd.Normal(zero, zero + 1)
    parts = location_scale(distribution)
    return None if parts is None else parts.noise


def draw_noise(
    distribution: tfd.Distribution, sample_shape: Sequence[Any], seed: tf.Tensor
) -> tf.Tensor:
    """Draws what `sample_with` turns into samples of any member of the family.

    Standard noise [*sample_shape, latent_dim] where `standard_noise` is known, drawn
    here because the same seed gives other numbers inside a function compiled by XLA.
    Of other families the seed itself, from which `sample_with` draws.

    Args:
        distribution: Any member of the family, event shape [latent_dim].
        sample_shape: Of the samples, the batch axis included.
        seed: Stateless seed [2].
    """
    noise = standard_noise(distribution)
    if noise is None:
        return seed
    latent_dim = distribution.event_shape[0]
    return noise.sample([*sample_shape, latent_dim], seed=seed)


def sample_with(
    distribution: tfd.Distribution, sample_shape: Sequence[Any], noise: tf.Tensor
) -> tf.Tensor:
    """Returns reparameterised samples [*sample_shape, *batch, latent_dim].

    Args:
        distribution: Batch shape [] or [batch], event shape [latent_dim].
        sample_shape: Of the samples, without the batch axis.
        noise: From `draw_noise` of the same family.
    """
    if type(distribution) is FlowNormal:
        return distribution.of_noise(noise)
    parts = location_scale(distribution)
    if parts is None:
        return distribution.sample(sample_shape, seed=noise)
    return parts.loc + parts.scale * noise


def join(posteriors: Sequence[tfd.Distribution]) -> tfd.Distribution:
    """Returns posteriors of one family as one, batch shape [n_1 + n_2 + ...].

    Args:
        posteriors: Batch shapes [n_1], [n_2], ...

    Raises:
        InputError: As of `batch_first`.
    """
    parts = [batch_first(plain(posterior)) for posterior in posteriors]
    params = [_parameters(part) for part in parts]
    joined = [tf.concat(param, axis=0) for param in zip(*params, strict=True)]
    return tf.nest.pack_sequence_as(parts[0], joined, expand_composites=True)


def _uncoerced(distribution: tfd.Distribution) -> tfd.Distribution:
    coerced = type(distribution) is _COERCED
    return distribution.tensor_distribution if coerced else distribution


def _parameters(distribution: tfd.Distribution) -> list[tf.Tensor]:
    return tf.nest.flatten(distribution, expand_composites=True)


def _changed(d: tfd.Distribution, /, **parameters: Any) -> tfd.Distribution:
    """Returns it with other parameters and its own settings."""
    return type(d)(**{**d.parameters, **parameters})


def _apart(loc: tf.Tensor, scale: tf.Tensor, family: type) -> LocationScale:
    shape = tf.broadcast_dynamic_shape(tf.shape(loc), tf.shape(scale))
    zero = tf.zeros([], loc.dtype)
    return LocationScale(
        tf.broadcast_to(loc, shape),
        tf.broadcast_to(scale, shape),
        family(zero, zero + 1),
    )
