# SPDX-License-Identifier: Apache-2.0
"""Every case: event one datum, batch [batch], float32, and no hidden draw."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    ABSTRACT,
    DATA_DIM,
    DECODERS,
    DIVERGENCES,
    ENCODERS,
    FAMILIES,
    FUNCTIONS,
    LATENT_DIM,
    LEARNT_PRIORS,
    LIKELIHOODS,
    MODULES,
    POSTERIORS,
    PRIORS,
    WITH_SETTINGS,
    family_posterior,
    head_parameters,
)

import tf_decomp.divergences
from tf_decomp.errors import InputError
from tf_decomp.posteriors import aggregate_posterior

tfd = tfp.distributions

BATCH = 5
RANDOM_OPS = ("Random", "Stateless", "Multinomial")


def check_log_prob(distribution: Any, batch: list[int]) -> None:
    samples = distribution.sample(3, seed=[0, 1])
    log_probs = distribution.log_prob(samples)
    assert samples.dtype == log_probs.dtype == distribution.dtype
    assert samples.shape == [3, *batch, *distribution.event_shape]
    assert log_probs.shape == [3, *batch]
    assert np.all(np.isfinite(log_probs))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_a_case(module: Any, request: Any) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith(module.__name__)
        and not name.startswith("_")
    }
    tables = (PRIORS, POSTERIORS, LIKELIHOODS)
    made = {type(make()).__name__ for table in tables for make in table.values()}
    made |= {type(m()).__name__ for t in (ENCODERS, DECODERS) for m, _ in t.values()}
    made |= {function.__name__ for function, _ in DIVERGENCES.values()}
    missing = public - made - ABSTRACT - set(FUNCTIONS)
    assert not missing, f"tests/cases.py has no case for {sorted(missing)}"
    for name in public & set(FUNCTIONS):
        text = (request.path.parents[1] / FUNCTIONS[name]).read_text(encoding="utf-8")
        assert name in text, f"{FUNCTIONS[name]} does not test {name}"


def test_every_divergence_key_has_a_case() -> None:
    adapters = {function for function, _ in DIVERGENCES.values()}
    assert set(tf_decomp.divergences.DIVERGENCES.values()) <= adapters


@pytest.mark.parametrize("name", PRIORS)
def test_prior(name: str) -> None:
    prior = PRIORS[name]()
    assert prior.latent_dim == LATENT_DIM
    assert prior.distribution.batch_shape == []
    assert prior.distribution.event_shape == [LATENT_DIM]
    assert prior.distribution.dtype == tf.float32
    assert len(prior.trainable_variables) == len(prior.weights)
    assert bool(prior.weights) == (name in LEARNT_PRIORS)
    check_log_prob(prior.distribution, [])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PRIORS)
def test_prior_has_the_asked_dtype(name: str, dtype: str) -> None:
    assert PRIORS[name](dtype=dtype).distribution.dtype == dtype


def check_head(head: Any, event: list[int]) -> None:
    parameters = tf.constant(head_parameters(head, BATCH), tf.float32)
    coerced = head(parameters)
    assert coerced.batch_shape == [BATCH]
    assert coerced.event_shape == event
    assert coerced.dtype == tf.float32
    np.testing.assert_array_equal(tf.convert_to_tensor(coerced), coerced.mean())
    check_log_prob(coerced, [BATCH])

    @tf.function(input_signature=[tf.TensorSpec(parameters.shape)])
    def as_tensor(parameters: tf.Tensor) -> tf.Tensor:
        return tf.convert_to_tensor(head(parameters))

    types = {op.type for op in as_tensor.get_concrete_function().graph.get_operations()}
    drawn = {kind for kind in types if kind.startswith(RANDOM_OPS)}
    assert not drawn, f"calling the head draws: {drawn}"


@pytest.mark.parametrize("name", POSTERIORS)
def test_posterior(name: str) -> None:
    head = POSTERIORS[name]()
    assert type(head.params_size(LATENT_DIM)) is int
    check_head(head, [LATENT_DIM])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood(name: str) -> None:
    head = LIKELIHOODS[name]()
    assert type(head.params_size()) is int
    parameters = head_parameters(head, BATCH)
    assert head.params_size() == parameters[0].size
    check_head(head, list(head.data_shape))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name: str) -> None:
    make, data_shape = ENCODERS[name]
    posterior = make()(tf.zeros([BATCH, *data_shape]))
    assert posterior.batch_shape == [BATCH]
    assert posterior.event_shape == [LATENT_DIM]
    check_log_prob(posterior, [BATCH])


@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name: str) -> None:
    make, data_shape = DECODERS[name]
    likelihood = make()(tf.zeros([BATCH, LATENT_DIM]))
    assert likelihood.batch_shape == [BATCH]
    assert likelihood.event_shape == data_shape
    check_log_prob(likelihood, [BATCH])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence(name: str, family: str) -> None:
    posterior = family_posterior(family)
    prior = PRIORS["spike_and_slab"]().distribution
    latents = posterior.sample(seed=[0, 1])
    if name in WITH_SETTINGS and family in ("multivariate_normal_tril", "flow"):
        with pytest.raises(InputError, match="posterior of independent dimensions"):
            WITH_SETTINGS[name](posterior, prior, latents, latents)
        return
    prior_samples = prior.sample(len(latents), seed=[0, 2])
    value = DIVERGENCES[name][1](posterior, prior, latents, prior_samples)
    assert value.shape == ([len(latents)] if name == "kl_divergence" else [])
    assert value.dtype == tf.float32
    assert np.all(np.isfinite(value))


@pytest.mark.parametrize("family", FAMILIES)
def test_aggregate_posterior(family: str) -> None:
    aggregate = aggregate_posterior(family_posterior(family))
    assert aggregate.batch_shape == []
    assert aggregate.event_shape == [LATENT_DIM]
    check_log_prob(aggregate, [])


def test_aggregate_posterior_of_a_head() -> None:
    posterior = ENCODERS["mlp"][0]()(tf.zeros([BATCH, DATA_DIM]))
    check_log_prob(aggregate_posterior(posterior), [])


def test_low_precision_policy_keeps_heads_in_float32() -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for table in (POSTERIORS, LIKELIHOODS):
            for make in table.values():
                head = make()
                parameters = tf.constant(head_parameters(head, 2), tf.float16)
                assert head(parameters).dtype == tf.float32
        assert all(make().distribution.dtype == tf.float32 for make in PRIORS.values())
    finally:
        keras.config.set_dtype_policy(before)
