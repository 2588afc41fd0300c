# SPDX-License-Identifier: Apache-2.0
"""Likelihoods p(x|z): heads whose event is one datum."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_positive, check_sizes
from tf_decomp.heads import Head
from tf_decomp.posteriors import positive_scale

_register = keras.saving.register_keras_serializable("tf_decomp")


class _Likelihood(Head):
    """A head whose event is one datum; parameters lie along the last axis."""

    def __init__(
        self, data_shape: Sequence[int], params_per_value: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        name = f"{type(self).__name__}: data_shape"
        self.data_shape = check_sizes(name, data_shape, at_least=1)
        self.params_per_value = params_per_value

    def params_size(self) -> int:
        """Number of network outputs that the head needs."""
        return self.params_per_value * math.prod(self.data_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "data_shape": list(self.data_shape)}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        *sides, last = self.data_shape
        return (*sides, last * self.params_per_value), self.data_shape

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(self._values(params), len(self.data_shape))

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class _LocationScale(_Likelihood):
    """loc from the network; the scale too, or one fixed number."""

    def __init__(
        self, data_shape: Sequence[int], scale: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_shape, 2 if scale is None else 1, **kwargs)
        if scale is not None:
            scale = check_positive(f"{type(self).__name__}: scale", scale, self.dtype)
        self.scale = scale

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "scale": self.scale}

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        if self.scale is not None:
            return self._family(params, tf.constant(self.scale, params.dtype))
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


@_register
class BernoulliLikelihood(_Likelihood):
    """Head: logits [batch, *data_shape] -> Bernoulli p(x|z).

    Grey values in [0, 1] are taken as they are: log p is then the cross-entropy.

    Args:
        data_shape: Shape of one datum.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `data_shape` is no shape, or (when called) the layer in front gives
            outputs of another shape.

    Example:
        >>> BernoulliLikelihood([32, 32, 1])(tf.zeros([5, 32, 32, 1]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 1, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Bernoulli(logits=params, dtype=params.dtype)


@_register
class NormalLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Normal p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Standard deviation; None lets the network give it.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `scale` is not positive, or as of BernoulliLikelihood.

    Example:
        >>> NormalLikelihood([2])(tf.zeros([5, 4]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Normal(loc, scale)


@_register
class LaplaceLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Laplace p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Mean absolute deviation; None lets the network give it.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `scale` is not positive, or as of BernoulliLikelihood.

    Example:
        >>> LaplaceLikelihood([32, 32, 1], scale=0.1)(tf.zeros([5, 32, 32, 1]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Laplace(loc, scale)
