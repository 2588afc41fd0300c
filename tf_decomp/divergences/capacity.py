# SPDX-License-Identifier: Apache-2.0
"""The distance of the batch's mean KL from a capacity."""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_real_number
from tf_decomp.divergences.kl import kl_divergence
from tf_decomp.variables import checked_weight


@keras.saving.register_keras_serializable("tf_decomp")
class KLCapacity(keras.layers.Layer):
    """|E_x KL(q(z|x) || p(z)) - C|: the annealed VAE, Burgess et al. 2018.

    The mean over the batch, in nats. With beta 0 and alpha their gamma the objective
    (7) is theirs. C is a weight to be assigned, as alpha is:
    `vae.divergence.capacity.assign(10.0)`; `LinearSchedule` raises it over epochs.

    Args:
        capacity: C >= 0, in nats.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        InputError: The capacity is no number >= 0.

    Example:
        >>> DecompositionVAE(..., divergence=KLCapacity(25.0), alpha=100.0, beta=0.0)
    """

    def __init__(self, capacity: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._capacity = checked_weight(self, "capacity", capacity, _check_capacity)
        self.built = True

    @property
    def capacity(self) -> keras.Variable:
        """C, in nats; assign to change it during training."""
        return self._capacity

    @capacity.setter
    def capacity(self, value: float) -> None:
        self._capacity.assign(value)

    def __call__(
        self,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        latents: tf.Tensor,
        prior_samples: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the distance [].

        Args:
            posterior: Batch shape [B], event shape [latent_dim].
            prior: Batch shape [], event shape [latent_dim].
            latents: [B, latent_dim], one sample of each posterior, used where the KL
                has no closed form.
            prior_samples: [B, latent_dim]; unused.
        """
        kl = tf.reduce_mean(kl_divergence(posterior, prior, latents[None]))
        return tf.abs(kl - tf.cast(self.capacity.value, kl.dtype))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, the capacity as it is now."""
        capacity = float(tf.convert_to_tensor(self.capacity.value))
        return {**super().get_config(), "capacity": capacity}


def _check_capacity(value: float) -> None:
    check_real_number("KLCapacity: capacity", value, least=0)
