# SPDX-License-Identifier: Apache-2.0
"""A normalising flow of each datum: couplings whose weights are its parameters."""

import functools
import itertools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

# A coupling multiplies by 0.05 to 20.
LOG_SCALE_BOUND = 3.0

# Of the quadrature of moments, half of the least number of points.
_FEWEST_PAIRS = 128
# Numbers that the points of a quadrature hold at once where the batch's size is known.
_CHUNK = 2**20

_Properties = tfp.util.ParameterProperties


def bounded(raw: tf.Tensor) -> tf.Tensor:
    """Returns the log-scale of a coupling, within LOG_SCALE_BOUND, of any number."""
    return LOG_SCALE_BOUND * tf.tanh(raw / LOG_SCALE_BOUND)


def flow_weights(latent_dim: int, num_couplings: int, units: int) -> int:
    """Returns how many weights the couplings of a FlowNormal have.

    Args:
        latent_dim: Number of dimensions.
        num_couplings: How many couplings there are.
        units: Hidden units of each.
    """
    return _ends(latent_dim, num_couplings, units)[-1]


class FlowNormal(tfd.AutoCompositeTensorDistribution):
    """z = loc + scale * T(eps), eps standard normal, T affine couplings in a row.

    In turn the last half of the dimensions is shifted and scaled by a network of the
    first, and the first by one of the last: shift and log-scale, within 3, are means
    over the units of last * tanh(first * half + bias), with weights first
    [units, inputs], bias [units] and last [2 outputs, units] of its own for each member
    of the batch, one coupling behind the other. Samples are reparameterised and the
    density of every z is exact. Shifts and scales are bounded, so that tails stay
    normal. With weights of 0 it is MultivariateNormalDiag(loc, scale).

    There is no closed form of its moments: `mean()`, `variance()`, `stddev()` and
    `covariance()` are those of T at fixed points, `quadrature(latent_dim)`, of mean 0
    and covariance I, so that no moment of loc + scale * eps has an error.

    Args:
        loc: [batch, latent_dim].
        scale: [batch, latent_dim], positive.
        weights: [batch, flow_weights(latent_dim, num_couplings, units)].
        num_couplings: How many couplings follow each other.
        units: Hidden units of each.
        latent_dim: That of loc, which in a graph may not know it.
        validate_args: As of every distribution of TFP.
        allow_nan_stats: As of every distribution of TFP.
        name: Of the distribution.

    Example:
        >>> size = flow_weights(2, num_couplings=4, units=8)
        >>> FlowNormal(tf.zeros([5, 2]), tf.ones([5, 2]), tf.zeros([5, size]), 4, 8)
    """

    def __init__(
        self,
        loc: tf.Tensor,
        scale: tf.Tensor,
        weights: tf.Tensor,
        num_couplings: int,
        units: int,
        latent_dim: int | None = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "FlowNormal",
    ) -> None:
        # A number, not a shape: traces for several numbers of dimensions stay apart.
        latent_dim = latent_dim or tf.convert_to_tensor(loc).shape[-1]
        parameters = dict(locals())
        self._latent_dim = latent_dim
        self._loc, self._scale, self._weights = map(
            tf.convert_to_tensor, (loc, scale, weights)
        )
        self._num_couplings, self._units = num_couplings, units
        super().__init__(
            dtype=self._loc.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def loc(self) -> tf.Tensor:
        """What is added to scale * T(eps); not the mean, where T moves it."""
        return self._loc

    @property
    def scale(self) -> tf.Tensor:
        """What T(eps) is multiplied by."""
        return self._scale

    def of_noise(self, noise: tf.Tensor) -> tf.Tensor:
        """Returns z [..., batch, latent_dim] of standard noise of that shape.

        Args:
            noise: Standard normal; its batch axis may be 1.
        """
        halves = self._halves(noise)
        for k in range(self._num_couplings):
            shift, log_scale = self._coupling(k, halves[k % 2])
            halves[1 - k % 2] = halves[1 - k % 2] * tf.exp(log_scale) + shift
        return self._loc + self._scale * tf.concat(halves, axis=-1)

    @classmethod
    def _parameter_properties(
        cls, dtype: Any, num_classes: int | None = None
    ) -> dict[str, Any]:
        return {
            name: _Properties(event_ndims=1) for name in ("loc", "scale", "weights")
        }

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._latent_dim])

    def _event_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.constant([self._latent_dim])

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        shape = tf.concat([[n], tf.shape(self._loc)], axis=0)
        zero = tf.zeros([], self.dtype)
        return self.of_noise(tfd.Normal(zero, zero + 1).sample(shape, seed=seed))

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        halves = self._halves((z - self._loc) / self._scale)
        log_determinant = -tf.reduce_sum(tf.math.log(self._scale), axis=-1)
        for k in reversed(range(self._num_couplings)):
            shift, log_scale = self._coupling(k, halves[k % 2])
            halves[1 - k % 2] = (halves[1 - k % 2] - shift) * tf.exp(-log_scale)
            log_determinant -= tf.reduce_sum(log_scale, axis=-1)
        noise = tf.concat(halves, axis=-1)
        squares = tf.reduce_sum(noise**2 + np.log(2 * np.pi), axis=-1)
        return log_determinant - 0.5 * squares

    def _mean(self) -> tf.Tensor:
        return self._over_rows(lambda rows: tf.reduce_mean(rows._at_points(), axis=0))

    def _variance(self) -> tf.Tensor:
        return self._over_rows(
            lambda rows: tf.math.reduce_variance(rows._at_points(), axis=0)
        )

    def _stddev(self) -> tf.Tensor:
        return tf.sqrt(self._variance())

    def _covariance(self) -> tf.Tensor:
        return self._over_rows(lambda rows: _covariance(rows._at_points()))

    def _at_points(self) -> tf.Tensor:
        """Returns z [points, batch, latent_dim] at the points of the quadrature."""
        points = tf.constant(quadrature(self._latent_dim), self.dtype)
        ones = [1] * (self._loc.shape.rank - 1)
        return self.of_noise(tf.reshape(points, [-1, *ones, self._latent_dim]))

    def _over_rows(self, function: Any) -> tf.Tensor:
        """Returns function(self), a few members at a time where there are many."""
        size = self._loc.shape[0]
        most = max(1, _CHUNK // quadrature(self._latent_dim).size)
        if self._loc.shape.rank != 2 or size is None or size <= most:
            return function(self)
        parts = [function(self[i : i + most]) for i in range(0, size, most)]
        return tf.concat(parts, axis=0)

    def _coupling(self, k: int, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns shift and log-scale of the other half [..., batch, its size]."""
        sizes, units = _sizes(self._latent_dim), self._units
        inputs, outputs = sizes[k % 2], 2 * sizes[1 - k % 2]
        ends = _ends(self._latent_dim, self._num_couplings, units)
        weights = self._weights[..., ends[k] : ends[k + 1]]
        counts = [inputs * units, units, outputs * units]
        first, bias, last = tf.split(weights, counts, axis=-1)
        hidden = tf.tanh(_product(first, source, units, inputs) + bias)
        # A mean over units: their number does not tell how far random weights move z.
        moves = _product(last, hidden, outputs, units) / units
        shift, raw = tf.split(moves, 2, axis=-1)
        return shift, bounded(raw)

    def _halves(self, values: tf.Tensor) -> list[tf.Tensor]:
        return list(tf.split(values, _sizes(self._latent_dim), axis=-1))


@functools.cache
def quadrature(latent_dim: int) -> np.ndarray:
    """Returns points [2 max(128, latent_dim), latent_dim] for means over normal noise.

    Pairs eps, -eps of fixed normal draws, made orthogonal: of mean 0 and covariance I.

    Args:
        latent_dim: Number of dimensions.
    """
    pairs = max(_FEWEST_PAIRS, latent_dim)
    draws = np.random.default_rng(0).normal(size=(pairs, latent_dim))
    orthogonal, _ = np.linalg.qr(draws)
    return np.concatenate([orthogonal, -orthogonal]) * np.sqrt(pairs)


def _product(matrices: tf.Tensor, vectors: tf.Tensor, m: int, n: int) -> tf.Tensor:
    """Returns matrices [batch, m * n], in one row each, times vectors [..., n].

    As a sum of products, which XLA fuses: many small matrices take it twice as long.
    """
    shape = tf.concat([tf.shape(matrices)[:-1], [m, n]], axis=0)
    return tf.reduce_sum(tf.reshape(matrices, shape) * vectors[..., None, :], axis=-1)


def _covariance(z: tf.Tensor) -> tf.Tensor:
    centred = z - tf.reduce_mean(z, axis=0)
    products = tf.einsum("s...i,s...j->...ij", centred, centred)
    return products / tf.cast(tf.shape(z)[0], z.dtype)


def _sizes(latent_dim: int) -> tuple[int, int]:
    return (latent_dim + 1) // 2, latent_dim // 2


def _ends(latent_dim: int, num_couplings: int, units: int) -> list[int]:
    """Returns where the weights of each coupling begin, and where the last ones end."""
    first, last = _sizes(latent_dim)
    counts = [
        units * (inputs + 1 + 2 * outputs)
        for inputs, outputs in ((first, last), (last, first))
    ]
    each = (counts[k % 2] for k in range(num_couplings))
    return list(itertools.accumulate(each, initial=0))
