# SPDX-License-Identifier: Apache-2.0
"""The step to full-sized images: a transposed convolution to few channels."""

from typing import Any

import keras
import tensorflow as tf

from tf_decomp.tracing import compiled

# With 6 it is faster than Keras's layer, with 16 slower.
FEW_CHANNELS = 6

_KERNEL, _STRIDE = 4, 2


@keras.saving.register_keras_serializable("tf_decomp")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's layer with a 4x4 kernel of stride 2, trained faster to few channels.

    oneDNN computes eight output channels where one is wanted. Here training takes a
    product of matrices and adds its four overlapping parts, in XLA; gradients are
    Keras's own. Results agree to rounding. Outside training (so in a SavedModel too)
    this is Keras's layer; its name is too, so that either reads the other's weights.

    Args:
        filters: Output channels.
        **kwargs: Further arguments of Keras's layer but kernel, stride, padding.

    Example:
        >>> Conv2DTranspose(1)(tf.zeros([5, 16, 16, 32]), training=True)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        fixed = {"kernel_size": _KERNEL, "strides": _STRIDE, "padding": "same"}
        super().__init__(filters, **{**kwargs, **fixed})
        self._compiled = compiled(_overlapping_sum)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gives [batch, 2 height, 2 width, filters]."""
        if not training:
            return super().call(inputs)
        outputs = self._transpose(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return self.activation(outputs)

    @tf.custom_gradient
    def _transpose(self, inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(outer: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            by_inputs = tf.nn.conv2d(outer, kernel, _STRIDE, "SAME")
            by_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=outer,
                filter_sizes=kernel.shape,
                out_backprop=inputs,
                strides=[1, _STRIDE, _STRIDE, 1],
                padding="SAME",
            )
            return by_inputs, by_kernel

        return self._compiled(inputs, kernel), gradient


def _overlapping_sum(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Adds the 4x4 patch of every input pixel at its place.

    A patch is 2x2 blocks of 2x2 pixels, and each block lies on the grid of blocks.

    Args:
        x: [batch, height, width, channels].
        kernel: [4, 4, filters, channels].
    """
    height, width, channels = x.shape[1:]
    filters = kernel.shape[2]
    flat = tf.reshape(kernel, [-1, channels])
    patches = tf.matmul(tf.reshape(x, [-1, channels]), flat, transpose_b=True)
    patches = tf.reshape(patches, [-1, height, width, 2, 2, 2, 2, filters])
    blocks = []
    for row in range(2):
        for column in range(2):
            block = tf.transpose(patches[:, :, :, row, :, column], [0, 1, 3, 2, 4, 5])
            rows, columns = [row, 1 - row], [column, 1 - column]
            blocks.append(
                tf.pad(block, [[0, 0], rows, [0, 0], columns, [0, 0], [0, 0]])
            )
    image = tf.reshape(
        tf.add_n(blocks), [-1, 2 * (height + 1), 2 * (width + 1), filters]
    )
    return image[:, 1:-1, 1:-1]
