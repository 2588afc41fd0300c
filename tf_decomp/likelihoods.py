# SPDX-License-Identifier: Apache-2.0
"""Likelihoods p(x|z): heads whose event is one datum."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.posteriors import positive_scale


class _Likelihood(tfp.layers.DistributionLambda):
    """A head whose event is one datum; parameters lie along the last axis."""

    def __init__(
        self, data_shape: Sequence[int], params_per_value: int, **kwargs: Any
    ) -> None:
        dtype = keras.config.dtype_policy().variable_dtype
        super().__init__(
            self._distribution, tfd.Distribution.mean, **{"dtype": dtype, **kwargs}
        )
        self.data_shape = tuple(data_shape)
        self.params_per_value = params_per_value

    def params_size(self) -> int:
        """Number of network outputs that the head needs."""
        return self.params_per_value * int(np.prod(self.data_shape))

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(self._values(params), len(self.data_shape))

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class _LocationScale(_Likelihood):
    """loc from the network; the scale too, or one fixed number."""

    def __init__(
        self, data_shape: Sequence[int], scale: float | None = None, **kwargs: Any
    ) -> None:
        if scale is not None and not (np.isfinite(scale) and scale > 0):
            raise InputError(f"likelihood: scale must be > 0; received {scale}")
        super().__init__(data_shape, 2 if scale is None else 1, **kwargs)
        self.scale = scale

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        if self.scale is not None:
            return self._family(params, tf.constant(self.scale, params.dtype))
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class BernoulliLikelihood(_Likelihood):
    """Head: logits [batch, *data_shape] -> Bernoulli p(x|z).

    Grey values in [0, 1] are taken as they are: log p is then the cross-entropy.

    Args:
        data_shape: Shape of one datum.
        **kwargs: Arguments of the TFP layer.

    Example:
        >>> BernoulliLikelihood([32, 32, 1])(tf.zeros([5, 32, 32, 1]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 1, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Bernoulli(logits=params, dtype=params.dtype)


class NormalLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Normal p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Standard deviation; None lets the network give it.
        **kwargs: Arguments of the TFP layer.

    Raises:
        InputError: `scale` is not positive.

    Example:
        >>> NormalLikelihood([2])(tf.zeros([5, 4]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Normal(loc, scale)


class LaplaceLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Laplace p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Mean absolute deviation; None lets the network give it.
        **kwargs: Arguments of the TFP layer.

    Raises:
        InputError: `scale` is not positive.

    Example:
        >>> LaplaceLikelihood([32, 32, 1], scale=0.1)(tf.zeros([5, 32, 32, 1]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Laplace(loc, scale)
