# SPDX-License-Identifier: Apache-2.0
"""The transposed convolution of training against Keras's."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_decomp.networks import Conv2DTranspose, ConvDecoder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

CASES = [
    ((5, 4, 4, 7), 1, {}),
    ((3, 6, 4, 5), 3, {"use_bias": False}),
    ((1, 1, 2, 2), 2, {"activation": "relu", "bias_initializer": "normal"}),
]


def both(shape: tuple[int, ...], filters: int, **kwargs: Any) -> list[Any]:
    """Returns values and gradients of this layer in training, and of Keras's."""
    x, results = tf.random.stateless_normal(shape, [0, 1], dtype=tf.float64), []
    for family, call in (
        (Conv2DTranspose(filters, dtype="float64", **kwargs), {"training": True}),
        (
            keras.layers.Conv2DTranspose(
                filters, 4, 2, "same", dtype="float64", **kwargs
            ),
            {},
        ),
    ):
        family.build(shape)
        weights = family.trainable_variables
        if results:
            family.set_weights(results[0][0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = family(x, **call)
            scalar = tf.reduce_sum(tf.sin(y))
        gradients = tape.gradient(scalar, [x, *(w.value for w in weights)])
        results.append((family.get_weights(), y, *gradients))
    return results


@pytest.mark.parametrize(("shape", "filters", "kwargs"), CASES)
def test_values_and_gradients_are_those_of_keras(
    shape: tuple[int, ...], filters: int, kwargs: dict[str, Any]
) -> None:
    ours, theirs = both(shape, filters, **kwargs)
    assert len(ours) == len(theirs) == 4 + kwargs.get("use_bias", True)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert np.abs(ours[1]).max() > 0.01


def test_mixed_precision_computes_in_it_and_keeps_variables() -> None:
    layer = Conv2DTranspose(1, dtype="mixed_bfloat16")
    y = layer(tf.ones([2, 4, 4, 3]), training=True)
    assert y.dtype == tf.bfloat16
    assert layer.kernel.dtype == "float32"
    assert np.allclose(y, layer(tf.ones([2, 4, 4, 3])), atol=0.05)


def test_one_trace_serves_all_batch_sizes() -> None:
    layer = Conv2DTranspose(1)
    for n in range(1, 6):
        layer(tf.ones([n, 4, 4, 3]), training=True)
    assert layer._compiled.experimental_get_tracing_count() <= 2


def test_a_served_decoder_needs_no_xla() -> None:
    decoder = ConvDecoder((32, 32, 1), (8, 8))
    operations = {}
    for training in (False, True):
        traced = tf.function(lambda z, t=training: decoder(z, training=t).mean())
        graph = traced.get_concrete_function(tf.TensorSpec([None, 2])).graph
        text = str(graph.as_graph_def())
        operations[training] = "_XlaMustCompile" in text
    assert operations == {False: False, True: True}


@pytest.mark.parametrize(("channels", "ours"), [(6, True), (7, False)])
def test_decoders_take_it_for_few_channels(channels: int, ours: bool) -> None:
    last = ConvDecoder((16, 16, channels), (8, 8)).body.layers[-1]
    assert last.filters == channels
    assert isinstance(last, Conv2DTranspose) == ours


def test_weights_of_keras_layers_load(tmp_path: Path) -> None:
    def network(last: keras.layers.Layer) -> keras.Model:
        first = keras.layers.Conv2DTranspose(3, 4, 2, "same", name="first")
        return keras.Sequential([keras.Input([4, 4, 2]), first, last])

    theirs = network(keras.layers.Conv2DTranspose(1, 4, 2, "same"))
    ours = network(Conv2DTranspose(1))
    theirs.save_weights(tmp_path / "x.weights.h5")
    ours.load_weights(tmp_path / "x.weights.h5")
    x = tf.random.stateless_normal([2, 4, 4, 2], [0, 1])
    np.testing.assert_allclose(ours(x, training=True), theirs(x), atol=1e-5)


def test_a_saved_model_gives_the_layer_back(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input([4, 4, 2]), Conv2DTranspose(1)])
    model.save(tmp_path / "x.keras")
    again = keras.models.load_model(tmp_path / "x.keras")
    assert isinstance(again.layers[-1], Conv2DTranspose)
    x = tf.random.stateless_normal([2, 4, 4, 2], [0, 1])
    np.testing.assert_array_equal(again(x, training=True), model(x, training=True))
