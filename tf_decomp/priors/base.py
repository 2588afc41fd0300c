# SPDX-License-Identifier: Apache-2.0
"""What every prior is: a Keras layer that owns weights and gives p(z)."""

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError


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

    def _constant(self, value: Any) -> tf.Tensor:
        return tf.constant(value, self.variable_dtype)


def diagonal_normal(scale: tf.Tensor) -> tfd.Distribution:
    """Returns the normal with mean 0 and standard deviations scale [latent_dim]."""
    return tfd.MultivariateNormalDiag(tf.zeros_like(scale), scale)


def check_latent_dim(latent_dim: int) -> None:
    """Refuses a latent_dim below 1.

    Raises:
        InputError: It is.
    """
    if latent_dim < 1:
        raise InputError(f"latent_dim must be >= 1; received {latent_dim}")


def brief(value: Any) -> str:
    """Returns a received value as one short line."""
    return f"shape {list(np.shape(value))}" if np.size(value) > 8 else str(value)
