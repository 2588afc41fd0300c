# SPDX-License-Identifier: Apache-2.0
"""Affine couplings, of which flows and hierarchies are made, and their density."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.flows import bounded


class Coupling(keras.layers.Layer):
    """z_target = eps_target * scale(z_source) + shift(z_source), by a small network.

    The last layer starts at 0, and so the map as the identity. With tanh between
    layers shift and scale are bounded for any source, so that tails stay normal.

    Args:
        latent_dim: Of z.
        source: Dimensions on which shift and scale depend.
        target: Dimensions that are changed; none of `source`.
        hidden: Units of the hidden layers; with none the network is linear.
        dtype: Of the weights.
    """

    def __init__(
        self,
        latent_dim: int,
        source: Sequence[int],
        target: Sequence[int],
        hidden: Sequence[int],
        dtype: str,
    ) -> None:
        super().__init__(dtype=dtype)
        self._source, self._target = tuple(source), tuple(target)
        self._latent_dim = latent_dim
        self.network = [keras.layers.Dense(n, "tanh", dtype=dtype) for n in hidden]
        last = keras.layers.Dense(
            2 * len(target), kernel_initializer="zeros", dtype=dtype
        )
        self.network.append(last)
        units = len(source)
        for layer in self.network:
            layer.build((None, units))
            units = layer.units
        self.built = True

    def call(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns shift and log-scale [n, latent_dim], 0 outside the target.

        Args:
            z: [n, latent_dim], of which the source is read.
        """
        hidden = tf.gather(z, self._source, axis=1)
        for layer in self.network:
            hidden = layer(hidden)
        shift, raw = tf.split(hidden, 2, axis=1)
        rows = np.eye(self._latent_dim)[list(self._target)]
        to_all = tf.constant(rows, z.dtype)
        return shift @ to_all, bounded(raw) @ to_all


class CoupledNormal(tfd.Distribution):
    """What couplings make of a standard normal, one after another.

    Args:
        couplings: In the order in which samples go through them.
        latent_dim: Number of dimensions.
        dtype: Of its values.
        name: Of the distribution.
    """

    def __init__(
        self,
        couplings: Sequence[Coupling],
        latent_dim: int,
        dtype: str,
        name: str = "CoupledNormal",
    ) -> None:
        self._couplings, self._latent_dim = couplings, latent_dim
        super().__init__(
            dtype=tf.as_dtype(dtype),
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=False,
            parameters={
                "couplings": couplings,
                "latent_dim": latent_dim,
                "dtype": dtype,
                "name": name,
            },
            name=name,
        )

    def forward(self, noise: tf.Tensor) -> tf.Tensor:
        """Returns z [n, latent_dim] of standard normal noise [n, latent_dim].

        Args:
            noise: The noise.
        """
        z = noise
        for coupling in self._couplings:
            shift, log_scale = coupling(z)
            z = z * tf.exp(log_scale) + shift
        return z

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the noise [n, latent_dim] of z, and log |d noise / d z| [n].

        Args:
            z: [n, latent_dim].
        """
        noise, log_determinant = z, tf.zeros(tf.shape(z)[:1], z.dtype)
        for coupling in reversed(self._couplings):
            shift, log_scale = coupling(noise)
            noise = (noise - shift) * tf.exp(-log_scale)
            log_determinant -= tf.reduce_sum(log_scale, axis=1)
        return noise, log_determinant

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.zeros([0], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._latent_dim])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._latent_dim])

    def _base(self) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(tf.zeros([self._latent_dim], self.dtype))

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        return self.forward(self._base().sample(n, seed=seed))

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(z, [-1, self._latent_dim])
        noise, log_determinant = self.inverse(rows)
        log_prob = self._base().log_prob(noise) + log_determinant
        return tf.reshape(log_prob, tf.shape(z)[:-1])


def coupling_weights(inputs: int, targets: int, hidden: Sequence[int]) -> int:
    """Returns about how many weights a coupling's network has.

    Args:
        inputs: Dimensions that it reads.
        targets: Dimensions that it changes.
        hidden: Units of its hidden layers.
    """
    sizes = [inputs, *hidden, 2 * targets]
    return sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
