# SPDX-License-Identifier: Apache-2.0
"""Every gradient is the finite difference in float64, hand-written ones in chunks."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    DIVERGENCES,
    FAMILIES,
    LEARNT_PRIORS,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    family_posterior,
    head_parameters,
)
from monte_carlo import assert_gradients, finite_differences

import tf_decomp.divergences
from tf_decomp.divergences import dimensionwise_mmd, inclusive_kl
from tf_decomp.priors import NormalPrior
from tf_decomp.sampling import draw_noise, sample_with

tfd = tfp.distributions


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# A gradient that skips 0 upstream, or that takes upstream for 1, must show.
WEIGHTS = normal(5, seed=9)


@pytest.mark.parametrize("name", PRIORS)
def test_prior_log_prob(name: str) -> None:
    distribution = PRIORS[name](dtype="float64").distribution
    assert_gradients(
        lambda z: tf.reduce_sum(WEIGHTS * distribution.log_prob(z)), [normal(5, 2)]
    )


@pytest.mark.parametrize("make", [*POSTERIORS.values(), *LIKELIHOODS.values()], ids=str)
def test_head_log_prob(make: Any) -> None:
    head = make(dtype="float64")
    parameters = head_parameters(head, 2)
    event = head(tf.constant(parameters)).event_shape
    value = np.clip(np.abs(normal(2, *event)), 0, 1)

    def log_prob(parameters: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(WEIGHTS[:2] * head(parameters).log_prob(value))

    assert_gradients(log_prob, [parameters])


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_divergence(family: str) -> None:
    make, parameters = FAMILIES[family]
    prior = PRIORS["normal_mixture"](dtype="float64")
    call = DIVERGENCES["kl_divergence"][1]

    def weighted(*arguments: tf.Tensor) -> tf.Tensor:
        *parameters, latents = arguments
        kl = call(make(*parameters), prior, latents, None)
        return tf.reduce_sum(WEIGHTS[:4] * kl)

    assert_gradients(weighted, [*parameters, 0.3 * normal(3, 4, 2)])


@pytest.mark.parametrize("family", FAMILIES)
def test_inclusive_kl(family: str) -> None:
    make, parameters = FAMILIES[family]
    prior = PRIORS["spike_and_slab"](dtype="float64")

    def scaled(z: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
        return -1.7 * inclusive_kl(z, prior, make(*parameters))

    assert_gradients(scaled, [normal(5, 2), *parameters])


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (1, 4), (4, 1), (1, 1)])
def test_dimensionwise_mmd(sizes: tuple[int, int]) -> None:
    x, y = normal(sizes[0], 2), normal(sizes[1], 2, seed=1) + 0.5
    assert_gradients(lambda x, y: -1.7 * dimensionwise_mmd(x, y), [x, y])


def values_and_gradients(
    function: Any, arguments: list[np.ndarray]
) -> list[np.ndarray]:
    tensors = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return [value.numpy(), *(g.numpy() for g in tape.gradient(value, tensors))]


# Of x [7, 2] and y [5, 2]: one row at a time, chunks of 2 and 3 with a ragged end.
@pytest.mark.parametrize(
    ("family", "chunk"),
    [
        *(("mmd", chunk) for chunk in (1, 20, 30)),
        *(("multivariate_normal_diag", chunk) for chunk in (1, 20, 30)),
        ("multivariate_normal_tril", 20),
        ("independent_normal_one_scale", 20),
    ],
)
def test_chunks_change_nothing(
    family: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family == "mmd":
        function: Any = dimensionwise_mmd
        arguments = [normal(7, 2), normal(5, 2, seed=1)]
    else:
        make, parameters = FAMILIES[family]
        prior = PRIORS["normal"](dtype="float64")
        arguments = [normal(7, 2), *parameters]

        def function(z: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
            return inclusive_kl(z, prior, make(*parameters))

    expected = values_and_gradients(function, arguments)
    monkeypatch.setattr(tf_decomp.pairwise, "_CHUNK", chunk)
    # The chunk's size is in the traces: trace anew, without waiting for XLA.
    for name, value in list(vars(tf_decomp.pairwise).items()):
        if hasattr(value, "python_function"):
            fresh = tf.function(value.python_function, reduce_retracing=True)
            monkeypatch.setattr(tf_decomp.pairwise, name, fresh)
    got = values_and_gradients(function, arguments)
    for ours, one_chunk in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, one_chunk, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("family", ["multivariate_normal_diag", "independent_laplace"])
@pytest.mark.parametrize(
    "divergence", ["kl_divergence", *tf_decomp.divergences.DIVERGENCES]
)
@pytest.mark.parametrize("name", LEARNT_PRIORS)
def test_learnt_prior_weights(name: str, divergence: str, family: str) -> None:
    # A D of prior samples that are not reparameterised would give them nothing.
    prior: NormalPrior = PRIORS[name](dtype="float64")
    (weights,) = prior.trainable_variables
    posterior = family_posterior(family, "float64")
    latents = posterior.sample(seed=[0, 1])
    noise = draw_noise(prior.distribution, [4], tf.constant([0, 2]))

    def value() -> tf.Tensor:
        samples = sample_with(prior.distribution, [4], noise)
        call = DIVERGENCES[divergence][1]
        return tf.reduce_sum(call(posterior, prior.distribution, latents, samples))

    with tf.GradientTape() as tape:
        total = value()
    gradient = tape.gradient(total, weights.value)
    start = weights.numpy()

    def moved(logs: tf.Tensor) -> tf.Tensor:
        weights.assign(logs)
        return value()

    assert np.all(np.abs(gradient) > 1e-3)
    expected = finite_differences(moved, [start], 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("divergence", tf_decomp.divergences.DIVERGENCES)
def test_eager_graph_and_xla_agree(divergence: str) -> None:
    call = tf_decomp.divergences.DIVERGENCES[divergence]
    prior = PRIORS["normal_mixture"]().distribution
    noise, samples = tf.constant(normal(4, 2), tf.float32), prior.sample(4, seed=[0, 1])

    def step(loc: tf.Tensor, scale: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([loc, scale])
            posterior = tfd.MultivariateNormalDiag(loc, scale)
            value = call(posterior, prior, loc + scale * noise, samples)
        return [value, *tape.gradient(value, [loc, scale])]

    parameters = FAMILIES["multivariate_normal_diag"].parameters
    arguments = [tf.constant(p, tf.float32) for p in parameters]
    eager = step(*arguments)
    for jit_compile in (False, True):
        got = tf.function(step, jit_compile=jit_compile)(*arguments)
        for ours, expected in zip(got, eager, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
