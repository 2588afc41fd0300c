# SPDX-License-Identifier: Apache-2.0
"""FlowPrior and HierarchicalPrior: determinants, inverses, integrals, known joints."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import DATA_DIM, data, make_vae
from monte_carlo import assert_mean_close
from runs import one_line

from tf_decomp import (
    FlowPrior,
    HierarchicalPrior,
    InputError,
    MLPDecoder,
    MLPEncoder,
    Prior,
    export_saved_model,
    load_encoder,
)
from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig

# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

# Dimensions out of order, a group of two parents, one of none.
GROUPS = {"style": [3, 0], "class": [1], "detail": [4], "alone": [2]}
PARENTS = {"detail": ["style", "class"], "style": ["class"]}
MAKE: dict[str, Any] = {
    "flow": lambda **kwargs: FlowPrior(5, 3, hidden=(8,), **kwargs),
    "hierarchical": lambda **kwargs: HierarchicalPrior(
        GROUPS, PARENTS, hidden=(8,), **kwargs
    ),
}


def moved(prior: Prior, size: float = 0.5) -> Prior:
    """Returns the prior away from where it starts."""
    rng = np.random.default_rng(0)
    for weight in prior.weights:
        weight.assign_add(size * rng.normal(size=weight.shape))
    return prior


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("name", MAKE)
def test_it_starts_as_the_standard_normal(name: str) -> None:
    prior, z = MAKE[name](dtype="float64"), 3 * normal(20, 5)
    expected = scipy.stats.norm.logpdf(z).sum(1)
    np.testing.assert_allclose(prior.distribution.log_prob(z), expected, rtol=1e-14)
    np.testing.assert_array_equal(prior.distribution.forward(tf.constant(z)), z)


@pytest.mark.parametrize("name", MAKE)
def test_the_inverse_and_its_determinant(name: str) -> None:
    p = moved(MAKE[name](dtype="float64")).distribution
    noise = tf.constant(normal(6, 5))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        z = p.forward(noise)
    jacobian = tape.batch_jacobian(z, noise, experimental_use_pfor=False)
    again, log_determinant = p.inverse(z)
    np.testing.assert_allclose(again, noise, atol=1e-12)
    expected = -np.linalg.slogdet(jacobian)[1]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(log_determinant, expected, rtol=1e-10)
    base = scipy.stats.norm.logpdf(noise).sum(1)
    np.testing.assert_allclose(p.log_prob(z), base + expected, rtol=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlowPrior(2, 4, hidden=(8,), dtype="float64"),
        lambda: HierarchicalPrior({"a": [1], "b": [0]}, {"b": ["a"]}, dtype="float64"),
    ],
    ids=["flow", "hierarchical"],
)
def test_the_density_has_integral_one_and_is_that_of_the_samples(make: Any) -> None:
    p = moved(make(), 0.2).distribution
    side = np.linspace(-15, 15, 801)
    grid = np.stack(np.meshgrid(side, side), -1)
    density, cell = np.exp(p.log_prob(grid)), (side[1] - side[0]) ** 2
    assert density.sum() * cell == pytest.approx(1, abs=1e-4)
    assert density[0].max() < 1e-7
    narrow = scipy.stats.multivariate_normal([0, 0.3], 0.3**2)
    expected = np.sum(density * narrow.pdf(grid)) * cell
    assert_mean_close(narrow.pdf(p.sample(20_000, seed=[0, 1])), expected)


@pytest.mark.parametrize("name", MAKE)
def test_scales_are_bounded_and_samples_repeat(name: str) -> None:
    p = moved(MAKE[name](), 30.0).distribution
    z = p.sample(50, seed=[0, 1])
    assert np.all(np.isfinite(z))
    np.testing.assert_array_equal(z, p.sample(50, seed=[0, 1]))
    assert np.any(z != p.sample(50, seed=[0, 2]))
    assert p.log_prob(tf.zeros(5)).shape == []
    assert p.log_prob(tf.zeros([2, 3, 5])).shape == [2, 3]


def test_a_flow_changes_odd_dimensions_first_and_in_turn() -> None:
    prior = moved(FlowPrior(5, 3, hidden=(4,)))
    for k, coupling in enumerate(prior.couplings):
        others = np.arange(5) % 2 == k % 2
        for each in coupling(tf.constant(normal(6, 5), tf.float32)):
            np.testing.assert_array_equal(np.all(each == 0, axis=0), others)
        # Of the dimensions that it changes it reads none.
        at_zero, elsewhere = tf.zeros([1, 5]), tf.constant([~others * 7.0])
        for one, other in zip(coupling(at_zero), coupling(elsewhere), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MAKE)
def test_shifts_are_bounded_so_that_tails_stay_normal(name: str) -> None:
    prior, far = moved(MAKE[name](dtype="float64")), normal(50, 5)
    for coupling in prior.couplings:
        bounds = np.abs(coupling.network[-1].kernel).sum(0)
        bounds = (bounds + np.abs(coupling.network[-1].bias))[: bounds.size // 2]
        for size in (1.0, 1e3, 1e9):
            shift, log_scale = coupling(tf.constant(far * size))
            assert np.abs(shift).max() <= bounds.max()
            assert np.abs(log_scale).max() < 3


def test_linear_conditionals_have_a_known_joint() -> None:
    # z1 ~ N(0, 1); z3, z0 | z1 and z4 | z3, z0, z1: a directed Gaussian graph.
    prior = HierarchicalPrior(GROUPS, PARENTS, hidden=(), dtype="float64")
    slopes, offsets = np.zeros([5, 5]), np.zeros(5)
    scales, names = np.ones(5), {"style": ["class"], "detail": ["class", "style"]}
    rng = np.random.default_rng(1)
    sources = {"style": [1], "detail": [0, 1, 3]}
    for coupling, name in zip(prior.couplings, names, strict=True):
        target, (layer,) = GROUPS[name], coupling.network
        slope = rng.normal(size=[len(sources[name]), len(target)])
        offset, raw = rng.normal(size=[2, len(target)])
        layer.kernel.assign(np.concatenate([slope, np.zeros_like(slope)], 1))
        layer.bias.assign(np.concatenate([offset, raw]))
        for place, d in enumerate(target):
            slopes[d, sources[name]] = slope[:, place]
            offsets[d], scales[d] = offset[place], np.exp(3 * np.tanh(raw[place] / 3))
    solved = np.linalg.inv(np.eye(5) - slopes)
    mean, factor = solved @ offsets, solved * scales
    joint = scipy.stats.multivariate_normal(mean, factor @ factor.T)
    z = joint.rvs(30, random_state=0)
    log_prob = prior.distribution.log_prob(z)
    np.testing.assert_allclose(log_prob, joint.logpdf(z), rtol=1e-9)
    samples = prior.distribution.sample(50_000, seed=[0, 1]).numpy()
    assert_mean_close(samples, mean)
    centred = samples - mean
    products = centred[:, :, None] * centred[:, None]
    assert_mean_close(products, factor @ factor.T)


@pytest.mark.parametrize("key", ["inclusive_kl", "dimensionwise_mmd", None])
@pytest.mark.parametrize("name", MAKE)
def test_all_weights_learn(name: str, key: str | None) -> None:
    prior = moved(MAKE[name]())
    before = [w.numpy() for w in prior.weights]
    networks = {
        "encoder": MLPEncoder(5, hidden=(4,)),
        "decoder": MLPDecoder(DATA_DIM, hidden=(4,)),
    }
    vae = make_vae(prior, **networks, divergence=key, alpha=1.0 if key else 0.0)
    vae.beta.assign(0.0 if key else 1.0)
    assert all(any(w is v for v in vae.trainable_variables) for w in prior.weights)
    vae.compile(keras.optimizers.SGD(0.1))
    vae.fit(data(8), batch_size=4, verbose=0)
    for weight, start in zip(prior.weights, before, strict=True):
        assert np.any(weight.numpy() != start), weight.path


@pytest.mark.parametrize("name", MAKE)
def test_it_is_saved_and_served(name: str, tmp_path: Path) -> None:
    prior, z = moved(MAKE[name]()), tf.constant(normal(6, 5), tf.float32)
    assert json.loads(json.dumps(prior.get_config())) == prior.get_config()
    vae = make_vae(prior, MLPEncoder(5, hidden=(4,)), MLPDecoder(DATA_DIM, hidden=(4,)))
    expected = prior.distribution.log_prob(z)
    vae.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").prior
    np.testing.assert_array_equal(again.distribution.log_prob(z), expected)
    export_saved_model(vae, tmp_path / "saved")
    served = load_encoder(tmp_path / "saved")
    np.testing.assert_allclose(served.log_prob_prior(z)["log_prob"], expected, 1e-5)
    samples = prior.distribution.sample(4, seed=[3, 0])
    np.testing.assert_allclose(served.sample_prior(4, 3)["z"], samples, 1e-5, 1e-6)
    assert served.generate(4, 3)["x"].shape == [4, DATA_DIM]


def test_choices_have_the_settings() -> None:
    flow = ExperimentConfig(prior="flow", num_couplings=3, prior_hidden=(5, 4))
    prior = build_vae(flow, [DATA_DIM]).prior
    assert (len(prior.couplings), prior.get_config()["hidden"]) == (3, [5, 4])
    chain = ExperimentConfig(prior="hierarchical", latent_dim=5, prior_hidden=(3,))
    config = build_vae(chain, [DATA_DIM]).prior.get_config()
    assert config["groups"] == {"first": [0, 1], "second": [2, 3, 4]}
    assert config["parents"] == {"first": [], "second": ["first"]}


def test_settings_that_are_not_given() -> None:
    flow = FlowPrior(2).get_config()
    assert (flow["num_couplings"], flow["hidden"]) == (6, [64])
    assert HierarchicalPrior({"a": [0]}, {}).get_config()["hidden"] == [64]


def graph(groups: Any, parents: Any) -> Any:
    return lambda: HierarchicalPrior(groups, parents)


AB = {"a": [0], "b": [1]}
BAD: dict[str, tuple[str, Any]] = {
    "flow of one": ("latent_dim must be >= 2", lambda: FlowPrior(1)),
    "one coupling": ("num_couplings must be", lambda: FlowPrior(2, 1)),
    "hidden": ("FlowPrior: hidden must be", lambda: FlowPrior(2, hidden=(0,))),
    "flow memory": (
        "of memory that are available",
        lambda: FlowPrior(2, hidden=(10**12,)),
    ),
    "graph memory": (
        "of memory that are available",
        lambda: HierarchicalPrior(AB, {"b": ["a"]}, hidden=(10**12,)),
    ),
    "config flow": (
        "prior=flow needs latent_dim >= 2; received latent_dim=1",
        lambda: ExperimentConfig(prior="flow", latent_dim=1),
    ),
    "config hierarchical": (
        "needs latent_dim >= 2",
        lambda: ExperimentConfig(prior="hierarchical", latent_dim=1),
    ),
    "no groups": ("groups must map names", graph({}, {})),
    "empty group": ("group 'a' must be", graph({"a": []}, {})),
    "no whole number": ("group 'a' must be", graph({"a": [0.5]}, {})),
    "text": ("group 'a' must be", graph({"a": "01"}, {})),
    "overlap": ("dimension 0 is in 'a' and again", graph({"a": [0], "b": [0, 1]}, {})),
    "gap": ("dimension 1 is in none", graph({"a": [0], "b": [2]}, {})),
    "unknown parent": ("name 'c', which is no group", graph(AB, {"b": ["c"]})),
    "unknown child": ("name 'c', which is no group", graph(AB, {"c": ["a"]})),
    "no list": ("must be a list of different", graph(AB, {"b": "a"})),
    "twice": ("must be a list of different", graph(AB, {"b": ["a", "a"]})),
    "parents": ("parents must map", graph(AB, None)),
    "itself": ("a -> a", graph(AB, {"a": ["a"]})),
    "cycle": ("no cycle; received", graph(AB, {"a": ["b"], "b": ["a"]})),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)
