# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders: layers, sizes, batch normalisation, messages."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DECODERS, ENCODERS, LATENT_DIM

from tf_decomp.errors import InputError
from tf_decomp.networks import (
    LIKELIHOODS,
    POSTERIORS,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
)

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
    likelihood = ConvDecoder(shape, (3, 2), (), likelihood=name)(tf.zeros([2, 3]))
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
        "posterior: expected one of ['laplace', 'normal']; received 'gauss'",
        lambda: MLPEncoder(2, posterior="gauss"),
    ),
    "posterior that is registered, but no head": (
        "posterior: expected one of ['laplace', 'normal']; received "
        "'tf_decomp>NormalPrior'",
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
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_tables_hold_every_head() -> None:
    assert sorted(POSTERIORS) == ["laplace", "normal"]
    assert sorted(LIKELIHOODS) == ["bernoulli", "laplace", "normal"]


def test_networks_are_keras_models_that_count_their_weights() -> None:
    encoder = MLPEncoder(2, hidden=(3,))
    assert isinstance(encoder, keras.Model)
    encoder(tf.zeros([1, 5]))
    assert encoder.count_params() == 6 * 3 + 4 * 4
