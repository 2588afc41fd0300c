# SPDX-License-Identifier: Apache-2.0
"""How many floating-point operations a network takes."""

import math

import keras


def forward_multiply_adds(layer: keras.layers.Layer) -> int:
    """Returns the multiply-adds of one example's way through a layer that was called.

    Matrix products and convolutions alone: biases, activations, normalisation and
    distributions count as nothing.

    Args:
        layer: A layer or a `keras.Sequential`, called or built before.

    Example:
        >>> model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4)])
        >>> forward_multiply_adds(model)
        12
    """
    if isinstance(layer, keras.Sequential):
        return sum(forward_multiply_adds(each) for each in layer.layers)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    # Each weight meets each place of the smaller map once: of a convolution that is
    # the output, of a transposed one the input. (Padding is counted as data.)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:3])
    if isinstance(layer, keras.layers.Conv2D):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    return 0


def training_flops(encoder: keras.Model, decoder: keras.Model) -> int:
    """Returns the operations of one example in a training step.

    The backward pass takes two products for each of the forward pass (one for the
    layer's input, one for its weights), and a multiply-add is two operations.

    Args:
        encoder: A network of tf_decomp, called before.
        decoder: Likewise.
    """
    forward = sum(forward_multiply_adds(net.body) for net in (encoder, decoder))
    return 2 * 3 * forward
