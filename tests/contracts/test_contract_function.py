# SPDX-License-Identifier: Apache-2.0
"""Every case inside a tf.function of unknown batch size: one trace, same numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from cases import (
    DECODERS,
    DIVERGENCES,
    ENCODERS,
    FAMILIES,
    LATENT_DIM,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    head_parameters,
)

BATCHES = (1, 7)


def check(
    function: Callable[..., Any], inputs: Callable[[int], Sequence[np.ndarray]]
) -> None:
    specs = [tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in inputs(1)]
    traced = tf.function(function, input_signature=specs)
    for batch in BATCHES:
        arguments = [tf.constant(a) for a in inputs(batch)]
        for got, expected in zip(traced(*arguments), function(*arguments), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert traced.experimental_get_tracing_count() == 1


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", PRIORS)
def test_prior(name: str) -> None:
    prior = PRIORS[name]()
    check(
        lambda z: [prior.distribution.log_prob(z)],
        lambda batch: [normal(batch, LATENT_DIM)],
    )


@pytest.mark.parametrize("make", [*POSTERIORS.values(), *LIKELIHOODS.values()], ids=str)
def test_head(make: Any) -> None:
    head = make()

    def evaluate(parameters: tf.Tensor) -> list[tf.Tensor]:
        distribution = head(parameters)
        return [distribution.mean(), distribution.log_prob(distribution.mean())]

    check(evaluate, lambda batch: [head_parameters(head, batch).astype("float32")])


@pytest.mark.parametrize(
    "name",
    [f"encoder-{name}" for name in ENCODERS] + [f"decoder-{n}" for n in DECODERS],
)
def test_network(name: str) -> None:
    kind, case = name.split("-")
    make, shape = (ENCODERS if kind == "encoder" else DECODERS)[case]
    network, shape = make(), shape if kind == "encoder" else (LATENT_DIM,)
    network(tf.zeros([1, *shape]))

    def evaluate(inputs: tf.Tensor) -> list[tf.Tensor]:
        distribution = network(inputs)
        return [distribution.mean(), distribution.log_prob(distribution.mean())]

    check(evaluate, lambda batch: [normal(batch, *shape)])


@pytest.mark.parametrize(
    ("name", "family"),
    [
        *((name, "multivariate_normal_diag") for name in DIVERGENCES),
        *(("kl_divergence", family) for family in list(FAMILIES)[1:]),
    ],
)
def test_divergence(name: str, family: str) -> None:
    make, (loc, scale) = FAMILIES[family]
    prior = PRIORS["normal_mixture"]()

    def evaluate(loc: Any, scale: Any, latents: Any, samples: Any) -> list[tf.Tensor]:
        scale = scale if family != "independent_normal_one_scale" else 0.7
        posterior = make(loc, scale)
        with tf.GradientTape() as tape:
            tape.watch([loc, latents, samples])
            call = DIVERGENCES[name][1]
            value = call(make(loc, scale), prior.distribution, latents, samples)
        sources = [loc, latents, samples]
        gradients = tape.gradient(value, sources, unconnected_gradients="zero")
        return [value, posterior.mean(), *gradients]

    def inputs(batch: int) -> list[np.ndarray]:
        rows = np.arange(batch) % len(loc)
        widths = np.broadcast_to(scale, loc.shape) if scale.ndim == 0 else scale
        moved = loc[rows] + 0.1 * normal(batch, LATENT_DIM)
        drawn = [normal(batch, LATENT_DIM), 1 + normal(batch, LATENT_DIM)]
        return [a.astype("float32") for a in (moved, widths[rows], *drawn)]

    check(evaluate, inputs)
