# SPDX-License-Identifier: Apache-2.0
"""What every prior is: a Keras layer that owns weights and gives p(z)."""

import abc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_weights, check_whole_number


class Prior(keras.layers.Layer, abc.ABC):
    """The distribution p(z) that the aggregate posterior is asked to match.

    A subclass makes its weights (if it learns) in `__init__` and builds
    `distribution` from them at each access, so that gradients reach them; a
    variable hidden inside a TFP object would silently never train.

    Example:
        >>> class ShiftedPrior(Prior):
        ...     def __init__(self, latent_dim, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.loc = self.add_weight(shape=(latent_dim,), name="loc")
        ...     @property
        ...     def distribution(self):
        ...         return tfd.MultivariateNormalDiag(loc=self.loc.value)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    @property
    @abc.abstractmethod
    def distribution(self) -> tfd.Distribution:
        """p(z): batch shape [], event shape [latent_dim]."""

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return int(self.distribution.event_shape[0])

    @property
    def learns(self) -> bool:
        """Whether p(z), and so its samples, may change as the model trains."""
        return bool(self.trainable_variables)

    def connect(
        self, encoder: Callable[..., tfd.Distribution], data_shape: tuple[int, ...]
    ) -> None:
        """Takes the encoder of the model whose prior this is; here of no use.

        DecompositionVAE calls it once its networks are built. A prior that keeps the
        encoder must hide it from Keras, else its weights would count twice.

        Args:
            encoder: x [n, *data_shape], training -> q(z|x).
            data_shape: Of one datum.
        """

    def _constant(self, value: Any) -> tf.Tensor:
        return tf.constant(value, self.variable_dtype)

    def _learnt(self, name: str, start: np.ndarray) -> keras.Variable:
        """Adds and returns a weight that starts at the given values."""
        return self.add_weight(
            shape=start.shape,
            initializer=lambda shape, dtype: tf.constant(start, dtype),
            name=name,
        )


def diagonal_normal(scale: tf.Tensor) -> tfd.Distribution:
    """Returns the normal with mean 0 and standard deviations scale [latent_dim]."""
    return tfd.MultivariateNormalDiag(tf.zeros_like(scale), scale)


def check_latent_dim(prior: Prior, latent_dim: Any) -> int:
    """Returns the number of latent dimensions, if memory holds networks of it.

    Args:
        prior: Whose it is.
        latent_dim: The number.

    Raises:
        InputError: It is no whole number >= 1, or too large.
    """
    name = f"{type(prior).__name__}: latent_dim"
    latent_dim = check_whole_number(name, latent_dim, 1)
    # Encoder and decoder have at least two each.
    check_weights(f"{name}={latent_dim}", 4 * latent_dim)
    return latent_dim
