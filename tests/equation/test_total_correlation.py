# SPDX-License-Identifier: Apache-2.0
"""Total correlation of minibatches: definitions in NumPy, exact where B = N, bias."""

import json
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import make_vae
from monte_carlo import assert_gradients, mean_and_error
from runs import one_line

import tf_decomp.divergences.total_correlation
from tf_decomp import ExperimentConfig, build_vae
from tf_decomp.divergences import TotalCorrelation
from tf_decomp.errors import InputError
from tf_decomp.posteriors import aggregate_log_prob

tfd = tfp.distributions
SAMPLING = ("weighted", "stratified")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def encodings(size: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns latents, loc and scale."""
    loc, scale = normal(size, dim), np.exp(0.5 * normal(size, dim, seed=1))
    return loc + scale * normal(size, dim, seed=2), loc, scale


def estimate(num_data: int, sampling: str, z: Any, loc: Any, scale: Any) -> tf.Tensor:
    q = tfd.MultivariateNormalDiag(loc, scale)
    return TotalCorrelation(num_data, sampling)(q, None, z, None)


def written_down(
    num_data: int, sampling: str, z: np.ndarray, loc: np.ndarray, scale: np.ndarray
) -> float:
    """Chen et al. 2018, each pair's density by SciPy."""
    size, total = len(z), 0.0
    for i in range(size):
        weights = np.full(size, 1 / (num_data * size))
        if sampling == "stratified":
            weights[:] = (num_data - 1) / (num_data * (size - 1))
            weights[i] = 1 / num_data
        densities = scipy.stats.norm(loc, scale).pdf(z[i])  # [B, latent_dim]
        total += np.log(weights @ np.prod(densities, axis=1))
        total -= np.sum(np.log(weights @ densities))
    return total / size


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize(("size", "dim"), [(6, 3), (5, 1), (40, 2)])
def test_it_is_its_definition(size: int, dim: int, sampling: str) -> None:
    given = encodings(size, dim)
    expected = written_down(100, sampling, *given)
    for dtype, atol in (("float64", 1e-11), ("float32", 2e-5)):
        got = estimate(100, sampling, *(tf.constant(a, dtype) for a in given))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def test_all_data_in_the_batch_give_the_aggregate_exactly() -> None:
    size, dim = 30, 3
    z, loc, scale = map(tf.constant, encodings(size, dim))

    def log_q(dims: slice) -> tf.Tensor:
        q = tfd.MultivariateNormalDiag(loc[:, dims], scale[:, dims])
        return aggregate_log_prob(q, z[:, dims])

    marginals = [log_q(slice(d, d + 1)) for d in range(dim)]
    exact = tf.reduce_mean(log_q(slice(None)) - tf.add_n(marginals))
    stratified = estimate(size, "stratified", z, loc, scale)
    np.testing.assert_allclose(stratified, exact, rtol=1e-12)
    # Each logarithm is log N lower.
    weighted = estimate(size, "weighted", z, loc, scale)
    offset = (dim - 1) * np.log(size)
    np.testing.assert_allclose(weighted, exact + offset, rtol=1e-12)


def test_one_dimension_has_none() -> None:
    given = [tf.constant(a) for a in encodings(9, 1)]
    assert all(abs(float(estimate(50, s, *given))) < 1e-14 for s in SAMPLING)


def test_independent_laplace() -> None:
    z, loc, scale = encodings(5, 2)
    q = tfd.Independent(tfd.Laplace(tf.constant(loc), tf.constant(scale)), 1)
    densities = scipy.stats.laplace(loc, scale).pdf(z[:, None])  # [B, B, 2]
    joint = np.log(np.mean(np.prod(densities, axis=2), axis=1))
    marginals = np.log(np.mean(densities, axis=1))
    expected = np.mean(joint - marginals.sum(axis=1))
    got = TotalCorrelation(5, "stratified")(q, None, tf.constant(z), None)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_bias_where_the_truth_is_known(sampling: str) -> None:
    """Of q(z) = N(0, S); the table of docs/howto/divergence.md in small."""
    dim, variance, num_data, rng = 2, 0.1, 50_000, np.random.default_rng(0)
    covariance = np.array([[1.0, 0.3], [0.3, 1.0]])
    true = -0.5 * np.log(np.linalg.det(covariance))
    root = np.linalg.cholesky(covariance - variance * np.eye(dim))
    offset = 0.0 if sampling == "stratified" else (dim - 1) * np.log(num_data)
    biases = []
    for size in (16, 256):
        draws = []
        for _ in range(100):
            loc = normal(size, dim, seed=rng) @ root.T
            z = loc + variance**0.5 * normal(size, dim, seed=rng)
            scale = np.full([size, dim], variance**0.5)
            given = (tf.constant(a, tf.float32) for a in (z, loc, scale))
            draws.append(float(estimate(num_data, sampling, *given)) - offset - true)
        mean, error = mean_and_error(draws)
        biases.append(mean)
        sign = -1 if sampling == "stratified" else 1
        assert sign * mean > 5 * error
    assert abs(biases[1]) < 0.25 * abs(biases[0])


# One row at a time, chunks with a ragged end, all at once.
@pytest.mark.parametrize("chunk", [1, 60, 2**17])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_gradients(sampling: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf_decomp.pairwise, "_CHUNK", chunk)
    for name in ("_log_aggregates", "_gradients"):
        module = tf_decomp.divergences.total_correlation
        fresh = tf.function(getattr(module, name).python_function)
        monkeypatch.setattr(module, name, fresh)
    given = encodings(5, 3)
    assert_gradients(lambda *args: -1.7 * estimate(11, sampling, *args), list(given))


@pytest.mark.parametrize("sampling", SAMPLING)
def test_narrow_posteriors_have_their_gradients_in_float32(sampling: str) -> None:
    z, loc, scale = encodings(60, 4)
    scale = 1e-3 * scale
    z = np.concatenate([z[:30], loc[30:] + scale[30:] * normal(30, 4, seed=5)])
    narrow = [tf.constant(a, tf.float32) for a in (z, loc, scale)]
    results = []
    for given in (narrow, [tf.cast(a, tf.float64) for a in narrow]):
        with tf.GradientTape() as tape:
            tape.watch(given)
            value = estimate(1000, sampling, *given)
        results.append([value, *tape.gradient(value, given)])
    for ours, right in zip(*results, strict=True):
        error = np.linalg.norm(np.float64(ours) - right) / np.linalg.norm(right)
        assert error <= 1e-5


@pytest.mark.parametrize("sampling", SAMPLING)
def test_it_comes_back_through_json(sampling: str) -> None:
    vae = make_vae(divergence=TotalCorrelation(13, sampling), alpha=1.0)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(vae)))
    again = keras.saving.deserialize_keras_object(config).divergence
    assert type(again) is TotalCorrelation
    assert again.get_config() == {"num_data": 13, "sampling": sampling}


def test_a_run_knows_the_number_of_its_data() -> None:
    config = ExperimentConfig(divergence="total_correlation_stratified", hidden=(4,))
    x = normal(20, 3).astype("float32")
    assert build_vae(config, [3], x).divergence.num_data == 20
    assert build_vae(config, [3], x, num_data=70).divergence.num_data == 70
    assert build_vae(config, [3], num_data=70).divergence.sampling == "stratified"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "TotalCorrelation: num_data must be a whole number >= 2; received 1"),
        ((2.5,), "TotalCorrelation: num_data must be a whole number"),
        ((10, "naive"), "must be one of weighted, stratified; received 'naive'"),
    ],
)
def test_bad_settings(arguments: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        TotalCorrelation(*arguments)
    one_line(raised, message)
