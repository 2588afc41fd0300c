# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders: layers, sizes, batch normalisation, messages."""

import subprocess
import sys
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DECODERS, ENCODERS, LATENT_DIM
from runs import one_line

from tf_decomp.checks import available_memory, check_weights
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import BernoulliLikelihood, NormalLikelihood
from tf_decomp.networks import (
    LIKELIHOODS,
    POSTERIORS,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    count_weights,
)
from tf_decomp.posteriors import LaplacePosterior, NormalPosterior

tfd = tfp.distributions


def count(network: Any, *shape: int) -> int:
    network(tf.zeros([1, *shape]))
    return sum(int(np.prod(w.shape)) for w in network.trainable_variables)


def test_default_mlps_are_the_papers() -> None:
    # One hidden layer of 100; two numbers for each latent, and for each value.
    assert count(MLPEncoder(2), 2) == (2 + 1) * 100 + (100 + 1) * 4
    assert count(MLPDecoder(2), 2) == (2 + 1) * 100 + (100 + 1) * 4


def test_default_convolutions_are_the_papers_for_2d_shapes() -> None:
    convolutions = 32 * 16 + 32 + 32 * 32 * 16 + 32 + 32 * 64 * 16 + 64
    convolutions += 64 * 64 * 16 + 64
    dense = (64 * 16 + 1) * 128 + (128 + 1) * 20
    assert count(ConvEncoder(10), 64, 64, 1) == convolutions + dense
    dense = (10 + 1) * 128 + (128 + 1) * 1024
    transposed = 64 * 64 * 16 + 64 + 64 * 64 * 16 + 64 + 64 * 32 * 16 + 32 + 32 * 16 + 1
    assert count(ConvDecoder((64, 64, 1)), 10) == dense + transposed


def test_batch_normed_convolutions_are_the_papers_for_fashion_mnist() -> None:
    encoder = ConvEncoder(50, (32, 64, 128), (), batch_norm=True)
    convolutions = 16 * (1 * 32 + 32 * 64 + 64 * 128) + 2 * (64 + 128)
    assert count(encoder, 32, 32, 1) == convolutions + 4 * 4 * 128 * 100
    decoder = ConvDecoder((32, 32, 1), (128, 64, 32), (), batch_norm=True)
    transposed = 16 * (128 * 64 + 64 * 32 + 32 * 1) + 2 * (128 + 64 + 32)
    assert count(decoder, 50) == 50 * 16 * 128 + transposed
    for network in (encoder, decoder):
        kernels = [w for w in network.trainable_variables if w.name == "kernel"]
        assert len(kernels) == 4
        assert all(abs(np.std(k) - 0.02) < 0.002 for k in kernels)
        first, second = (np.ravel(kernel)[:50] for kernel in kernels[:2])
        assert not np.allclose(first, second)


@pytest.mark.parametrize("shape", [(16, 16, 1), (48, 32, 3), (64, 64, 2)])
def test_image_sizes_divisible_by_16(shape: tuple[int, ...]) -> None:
    posterior = ConvEncoder(3, hidden=(4,))(tf.zeros([2, *shape]))
    assert posterior.mean().shape == [2, 3]
    likelihood = ConvDecoder(shape, hidden=(4,))(tf.zeros([2, 3]))
    assert likelihood.mean().shape == [2, *shape]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_of_images(name: str) -> None:
    shape = (8, 8, 3)
    given = {"num_classes": 4} if name == "categorical" else {}
    decoder = ConvDecoder(shape, (3, 2), (), likelihood=name, **given)
    likelihood = decoder(tf.zeros([2, 3]))
    assert likelihood.mean().shape == [2, *shape]
    if name == "laplace":
        np.testing.assert_allclose(
            likelihood.stddev(), 0.1 * 2**0.5 * np.ones([2, *shape]), rtol=1e-6
        )


def test_kl_of_the_default_posterior_to_the_normal_is_exact() -> None:
    posterior = MLPEncoder(2)(tf.zeros([3, 2]))
    prior = tfd.MultivariateNormalDiag(tf.zeros(2))
    assert tfd.kl_divergence(posterior, prior).shape == [3]


@pytest.mark.parametrize("name", ["conv_batch_norm"])
@pytest.mark.parametrize("table", [ENCODERS, DECODERS], ids=["encoder", "decoder"])
def test_batch_norm_moves_in_training_alone(table: Any, name: str) -> None:
    network, shape = table[name][0](), table[name][1]
    shape = (LATENT_DIM,) if table is DECODERS else shape
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    network(x)
    before = [w.numpy() for w in network.non_trainable_variables]
    assert before
    network(x, training=False)
    for old, weight in zip(before, network.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(weight, old)
    network(x, training=True)
    moved = [
        not np.allclose(old, weight)
        for old, weight in zip(before, network.non_trainable_variables, strict=True)
    ]
    assert all(moved)


BAD = {
    "posterior": (
        "posterior: expected one of ['flow', 'full_covariance_normal', 'laplace', "
        "'normal']; received 'gauss'",
        lambda: MLPEncoder(2, posterior="gauss"),
    ),
    "posterior that is registered, but no head": (
        "posterior: expected one of ['flow', 'full_covariance_normal', 'laplace', "
        "'normal']; received 'tf_decomp>NormalPrior'",
        lambda: MLPEncoder(2, posterior="tf_decomp>NormalPrior"),
    ),
    "likelihood": (
        f"likelihood: expected one of {sorted(LIKELIHOODS)}; received 'gauss'",
        lambda: MLPDecoder(2, likelihood="gauss"),
    ),
    "conv likelihood": (
        "received 'gauss'",
        lambda: ConvDecoder((8, 8, 1), (3, 2), likelihood="gauss"),
    ),
    "classes without a number": (
        "num_classes: expected with likelihood categorical",
        lambda: MLPDecoder(2, likelihood="categorical"),
    ),
    "a number without classes": (
        "received likelihood 'poisson' and num_classes 3",
        lambda: ConvDecoder((8, 8, 1), (3,), likelihood="poisson", num_classes=3),
    ),
    "one class": (
        "CategoricalLikelihood: num_classes must be a whole number >= 2",
        lambda: MLPDecoder(2, likelihood="categorical", num_classes=1),
    ),
    "no text": ("posterior: expected one", lambda: MLPEncoder(2, posterior=None)),
    "class": (
        "likelihood: expected one",
        lambda: MLPDecoder(2, likelihood=NormalLikelihood),
    ),
    "list": ("posterior: expected one", lambda: MLPEncoder(2, posterior=["normal"])),
    **{
        f"latent_dim {value!r}, {network.__name__}": (
            f"{network.__name__}: latent_dim must be a whole number >= 1; received",
            partial(network, value),
        )
        for value in (0, -1, 1.5, 2.0, True, "3", None, (2,), np.nan, tf.zeros(2))
        for network in (MLPEncoder, ConvEncoder)
    },
    "beyond int64": ("whole number between 1 and 9,2", partial(MLPEncoder, 10**400)),
    "hidden beyond int64": ("whole numbers >= 1", lambda: MLPEncoder(2, (10**400,))),
    **{
        f"data_dim {value!r}": (
            "MLPDecoder: data_dim must be a whole number >= 1; received",
            partial(MLPDecoder, value),
        )
        for value in (0, -1, 1.5, True, "3", None, (20, 2), [3], np.inf)
    },
    **{
        f"hidden {value!r}, {network.__name__}": (
            f"{network.__name__}: hidden must be a sequence of whole numbers >= 1, as "
            "(100,); received",
            partial(network, size, hidden=value),
        )
        for value in (100, (0,), (-1,), (1.5,), "100", None, (True,), [[4]], (np.nan,))
        for network, size in (
            (MLPEncoder, 2),
            (MLPDecoder, 3),
            (ConvEncoder, 2),
            (ConvDecoder, (16, 16, 1)),
        )
    },
    **{
        f"filters {value!r}, {network.__name__}": (
            f"{network.__name__}: filters must be a sequence of 1 or more whole",
            partial(network, size, filters=value),
        )
        for value in ((), 32, (0,), (2.5,), "32", None)
        for network, size in ((ConvEncoder, 2), (ConvDecoder, (16, 16, 1)))
    },
    **{
        f"data_shape {value!r}": (
            "ConvDecoder: data_shape must be",
            partial(ConvDecoder, value),
        )
        for value in (
            (32, 32),
            (32,),
            (),
            32,
            (32, 32, 1, 1),
            (0, 0, 1),
            (32, 32, 0),
            (32.0, 32.0, 1.0),
            "321",
            None,
        )
    },
    **{
        f"{name} of shape {shape}": (
            "vectors [batch, length]; received shape [",
            partial(make, tf.zeros(shape)),
        )
        for name, make in (
            ("MLPEncoder", MLPEncoder(2)),
            ("MLPDecoder", MLPDecoder(2)),
            ("ConvDecoder", ConvDecoder((16, 16, 1))),
        )
        for shape in ((4,), (1, 8, 8, 1), (1, 2, 3))
    },
    "vectors": (
        "ConvEncoder: expected images [batch, height, width, channels]; received "
        "shape [5, 64]",
        lambda: ConvEncoder(2)(tf.zeros([5, 64])),
    ),
    "no channels": (
        "ConvEncoder: expected images",
        lambda: ConvEncoder(2)(tf.zeros([5, 64, 64])),
    ),
    "decoder side": (
        "images of 28x28: every side must be divisible by 16",
        lambda: ConvDecoder((28, 28, 1)),
    ),
    "encoder side": (
        "images of 28x28: every side must be divisible by 16",
        lambda: ConvEncoder(2)(tf.zeros([1, 28, 28, 1])),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)


def test_tables_hold_every_head() -> None:
    assert sorted(POSTERIORS) == [
        "flow",
        "full_covariance_normal",
        "laplace",
        "normal",
    ]
    assert sorted(LIKELIHOODS) == [
        "bernoulli",
        "categorical",
        "continuous_bernoulli",
        "laplace",
        "negative_binomial",
        "normal",
        "poisson",
    ]


def test_networks_are_keras_models_that_count_their_weights() -> None:
    encoder = MLPEncoder(2, hidden=(3,))
    assert isinstance(encoder, keras.Model)
    encoder(tf.zeros([1, 5]))
    assert encoder.count_params() == 6 * 3 + 4 * 4


# -- as Keras users write them ----------------------------------------------------

HEADS = {
    "normal posterior": (NormalPosterior(2), (4,), (2,)),
    "laplace posterior": (LaplacePosterior(3), (6,), (3,)),
    "normal": (NormalLikelihood([3]), (6,), (3,)),
    "fixed": (NormalLikelihood([3], scale=0.5), (3,), (3,)),
    "images": (NormalLikelihood([4, 4, 2]), (4, 4, 4), (4, 4, 2)),
    "bernoulli": (BernoulliLikelihood([4, 4, 1]), (4, 4, 1), (4, 4, 1)),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_a_keras_layer(name: str) -> None:
    head, outputs, event = HEADS[name]
    assert isinstance(head, keras.layers.Layer)
    symbolic = head(keras.Input(outputs))
    assert symbolic.shape == (None, *event)
    assert symbolic.dtype == "float32"
    model = keras.Sequential([keras.Input(outputs), head])
    assert model.output_shape == (None, *event)
    params = np.random.default_rng(0).normal(size=(5, *outputs)).astype("float32")
    np.testing.assert_array_equal(model(params).mean(), head(params).mean())
    config = keras.saving.serialize_keras_object(head)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == head.get_config()
    np.testing.assert_array_equal(again(params).stddev(), head(params).stddev())
    assert head.weights == []


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("symbolic", [True, False])
def test_a_head_refuses_other_outputs(name: str, symbolic: bool) -> None:
    head, outputs, _ = HEADS[name]
    for shape in ((*outputs[:-1], outputs[-1] + 1), (*outputs[:-1], 9), outputs[1:]):
        inputs = keras.Input(shape) if symbolic else tf.zeros([5, *shape])
        with pytest.raises(InputError, match="change the layer in front") as raised:
            head(inputs)
        assert "\n" not in str(raised.value)
        assert type(head).__name__ in str(raised.value)


def test_our_networks_are_layers_of_a_functional_model() -> None:
    inputs = keras.Input((3,))
    encoder = MLPEncoder(2, hidden=(4,))
    model = keras.Model(inputs, encoder(inputs))
    assert model.output_shape == (None, 2)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_array_equal(model(x).stddev(), encoder(x).stddev())


def test_heads_are_of_the_policy_s_variable_type() -> None:
    for dtype in ("mixed_float16", "mixed_bfloat16", keras.DTypePolicy("float32")):
        head = NormalPosterior(2, dtype=dtype)
        assert head(tf.zeros([1, 4], tf.float16)).dtype == tf.float32
    assert NormalPosterior(2, dtype="float64")(tf.zeros([1, 4])).dtype == tf.float64


# -- sizes and memory -------------------------------------------------------------


def test_a_generator_of_sizes_is_taken_once() -> None:
    encoder = MLPEncoder(np.int64(2), hidden=(n for n in (4, 3)))
    assert encoder.get_config()["hidden"] == [4, 3]
    assert encoder.get_config()["latent_dim"] == 2
    assert len(encoder.body.layers) == 3


@pytest.mark.parametrize("table", [ENCODERS, DECODERS], ids=["encoder", "decoder"])
def test_weights_are_counted_before_they_are_made(table: Any) -> None:
    for name, (make, data_shape) in table.items():
        network = make()
        shape = data_shape if table is ENCODERS else (LATENT_DIM,)
        if not hasattr(network, "body") or "batch_norm" in name:
            continue
        counted = count_weights(network.body.layers, shape)
        assert counted == count(network, *shape)


HUGE = {
    "hidden": "MLPEncoder(2, hidden=(10**12,))",
    "two layers": "MLPEncoder(2, hidden=(10**6, 10**7))",
    "inputs": "MLPEncoder(2, hidden=(10**8,))(tf.zeros([1, 10**5]))",
    "latent_dim": "MLPEncoder(2**40)",
    "latent_dim of images": "ConvEncoder(2**36)",
    "filters": "ConvEncoder(2, filters=(10**6, 10**6))",
    "data_dim": "MLPDecoder(10**11)",
    "images": "ConvDecoder((2**22, 2**22, 1))",
    "latents": "MLPDecoder(2, hidden=(10**8,))(tf.zeros([1, 10**5]))",
    "a prior": "tf_decomp.NormalPrior(2**40)",
    "heavy tails": "tf_decomp.StudentTPrior(2**40, 5.0)",
    "sparse": "tf_decomp.SpikeAndSlabPrior(2**40)",
}
PROGRAM = """
import resource, sys
import tensorflow as tf
import tf_decomp
from tf_decomp import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
tf.zeros([1]) + 1
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**31, now + 2**31))
for text in sys.argv[1:]:
    try:
        eval(text)
    except tf_decomp.InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux")
def test_networks_that_no_memory_holds_are_refused_before_they_are_made() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HUGE.values()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    lines = finished.stdout.splitlines()
    assert len(lines) == len(HUGE), finished.stdout
    for line in lines:
        assert "weights take" in line
        assert "of memory that are available; choose smaller sizes" in line


def test_the_limit_is_half_of_the_available_memory() -> None:
    limit = available_memory() // 32
    check_weights("small", limit // 2)
    with pytest.raises(InputError, match="large: [0-9.e+]+ weights take"):
        check_weights("large", 2 * limit)
