# SPDX-License-Identifier: Apache-2.0
"""What every head is: a Keras layer from network outputs to a distribution."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError


class Head(keras.layers.Layer):
    """A Keras layer whose output is a distribution; as a tensor it is its mean.

    It ends functional and sequential models, and is called in the `call` of a subclass
    of `keras.Model`. Inside is a layer of `tfp.layers`, which Keras 3 does not take for
    one of its own. A subclass has `_distribution` and `_shapes`.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`; `dtype` follows Keras's policy, but
            is never below float32.
    """

    def __init__(self, **kwargs: Any) -> None:
        policy = keras.dtype_policies.get(kwargs.pop("dtype", None))
        super().__init__(dtype=policy.variable_dtype, **kwargs)
        # The default conversion to a tensor would draw a sample at every call. What is
        # kept is a method: TensorFlow would save the layer itself with the model.
        self._to_distribution = tfp.layers.DistributionLambda(
            self._distribution, tfd.Distribution.mean, dtype=self.dtype
        ).__call__
        self.built = True

    def call(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the distribution of network outputs [..., batch, *outputs]."""
        self.compute_output_shape(params.shape)
        return self._to_distribution(params)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape [..., batch, *event] of the mean.

        Args:
            input_shape: [..., batch, *outputs].

        Raises:
            InputError: The network gives other outputs than the head takes.
        """
        outputs, event = self._shapes()
        shape = tuple(input_shape)
        batch, received = shape[: -len(outputs)], shape[-len(outputs) :]
        pairs = zip(received, outputs, strict=False)
        if not batch or any(size not in (None, wanted) for size, wanted in pairs):
            raise InputError(
                f"{type(self).__name__}: for the event {list(event)} expected network "
                f"outputs of shape [batch, {', '.join(map(str, outputs))}]; received "
                f"{list(shape)}, change the layer in front of the head"
            )
        return (*batch, *event)

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of the outputs for one datum and of its event."""
        raise NotImplementedError

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError
