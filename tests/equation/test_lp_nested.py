# SPDX-License-Identifier: Apache-2.0
"""LpNestedPrior: its integral, its known members, its samples, and its slope at 0."""

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from monte_carlo import assert_gradients, assert_mean_close
from runs import one_line

from tf_decomp import InputError, LpNestedPrior
from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.priors import LpNested
from tf_decomp.theory import anneal

tfd = tfp.distributions
PRIOR: Any = LpNestedPrior
# Groups, q, p of each.
MEMBERS: dict[str, tuple[Any, float, Any]] = {
    "line": ([(0,)], 1.3, 2.0),
    "plane": ([(0, 1)], 1.0, 2.0),
    "diamond": ([(1, 0)], 3.0, 1.0),
    "space": ([(2, 0, 1)], 1.5, 4.0),
    "two": ([(2, 0), (1,)], 1.0, (1.6, 2.0)),
}


def member(name: str, dtype: str = "float64") -> Any:
    groups, outer, inner = MEMBERS[name]
    return PRIOR(groups, outer, inner, dtype=dtype).distribution


def powers(name: str, z: np.ndarray) -> np.ndarray:
    """Returns |z_g|^q / q [n, num_groups], written down."""
    groups, outer, inner = MEMBERS[name]
    inner = np.broadcast_to(inner, [len(groups)])
    norms = [
        np.sum(np.abs(z[:, list(group)]) ** p, axis=1) ** (1 / p)
        for group, p in zip(groups, inner, strict=True)
    ]
    return np.stack(norms, 1) ** outer / outer


def integral(distribution: Any, beta: float = 1.0) -> float:
    """Returns the integral of p(z)^beta by Gauss-Legendre in the positive orthant.

    It is smooth there but for 0, where the points are dense.
    """
    dims = int(distribution.event_shape[0])
    points, weights = np.polynomial.legendre.leggauss(90)
    u, weights = (points + 1) / 2, weights / 2
    side, weights = 60 * u**4, weights * 240 * u**3
    grid = np.stack(np.meshgrid(*[side] * dims, indexing="ij"), -1)
    values = np.exp(beta * distribution.log_prob(grid).numpy())
    for _ in range(dims):
        values = values @ weights
    return 2**dims * values


@pytest.mark.parametrize("name", MEMBERS)
def test_the_density_is_the_power_s_and_has_integral_one(name: str) -> None:
    p = member(name)
    assert integral(p) == pytest.approx(1, abs=1e-6)
    z = np.random.default_rng(0).normal(size=(30, p.event_shape[0]))
    expected = -powers(name, z).sum(1) - p.log_normaliser
    np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-12)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0, 4.0])
def test_of_one_exponent_it_is_a_product_of_generalised_normals(
    exponent: float,
) -> None:
    z = np.random.default_rng(0).normal(size=(30, 4)) * 2
    p = LpNested([(3, 0), (1,), (2,)], exponent, [exponent] * 3, dtype="float64")
    scale = exponent ** (1 / exponent)
    expected = scipy.stats.gennorm(exponent, 0, scale).logpdf(z).sum(1)
    np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-12)
    theirs = tfd.GeneralizedNormal(np.zeros(4), scale, exponent)
    np.testing.assert_allclose(p.variance(), theirs.variance(), rtol=1e-10)
    samples = p.sample(20_000, seed=[0, 1]).numpy()
    for place in (-1.5, -0.2, 0.7, 2.0):
        assert_mean_close(samples < place, theirs.cdf(place))
    products = samples[:, :, None] * samples[:, None]
    assert_mean_close(products, np.diag(theirs.variance()))


def test_of_exponents_2_it_is_the_standard_normal() -> None:
    groups, z = [(0, 2), (1,)], np.random.default_rng(0).normal(size=(30, 3))
    # The exponent of one dimension alone does not count.
    prior = PRIOR(groups, 2.0, (2.0, 7.0), dtype="float64")
    assert type(prior.distribution) is tfd.MultivariateNormalDiag
    general = LpNested(groups, 2.0, [2.0, 7.0], dtype="float64")
    for p in (prior.distribution, general):
        expected = scipy.stats.norm.logpdf(z).sum(1)
        np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-12)
        np.testing.assert_allclose(p.variance(), np.ones(3), rtol=1e-12)
    samples = general.sample(20_000, seed=[0, 1]).numpy()
    assert_mean_close(samples, 0.0)
    assert_mean_close(samples**4, 3.0)
    assert_mean_close(samples[:, 0] ** 2 * samples[:, 2] ** 2, 1.0)
    assert_mean_close(samples[:, :, None] * samples[:, None], np.eye(3))
    for group, outer in (((0, 2), 1.0), ((0, 1), 2.0)):
        others = [d for d in range(3) if d not in group]
        other = PRIOR([group, others], outer, 2.0 if outer == 1.0 else 3.0)
        assert type(other.distribution) is LpNested


@pytest.mark.parametrize("name", MEMBERS)
def test_samples_have_gamma_powers_and_known_moments(name: str) -> None:
    groups, outer, _ = MEMBERS[name]
    p = member(name, "float32")
    z = p.sample(20_000, seed=[0, 1]).numpy().astype(float)
    shapes = np.array([len(group) for group in groups]) / outer
    found = powers(name, z)
    assert_mean_close(found, shapes)
    assert_mean_close(found**2, shapes * (shapes + 1))
    assert_mean_close(np.exp(-found), 0.5**shapes)
    assert_mean_close(z, 0.0)
    products = z[:, :, None] * z[:, None]
    assert_mean_close(products, np.diag(p.variance()))
    np.testing.assert_array_equal(p.mean(), np.zeros(z.shape[1]))
    centred = found - shapes
    for i, j in itertools.combinations(range(len(groups)), 2):
        assert_mean_close(centred[:, i] * centred[:, j], 0.0)


@pytest.mark.parametrize("name", ["plane", "diamond"])
def test_marginals_of_samples_are_those_of_the_density(name: str) -> None:
    p = member(name)
    side = np.linspace(-40, 40, 16_001)

    def marginal(at: float) -> float:
        line = np.stack([np.full_like(side, at), side], 1)
        return scipy.integrate.trapezoid(np.exp(p.log_prob(line)), side)

    z = p.sample(20_000, seed=[0, 2]).numpy()
    for low, high in ((-0.3, 0.3), (0.5, 1.0), (-3.0, -1.0)):
        expected = scipy.integrate.quad(marginal, low, high, epsrel=1e-6)[0]
        for d in (0, 1):
            assert_mean_close((low < z[:, d]) & (z[:, d] < high), expected)
    # Of directions: of p = 2 all are alike, of p = 1 those of the axes are few.
    square = scipy.integrate.dblquad(
        lambda y, x: float(np.exp(p.log_prob([x, y]))), 0.1, 0.6, 0.1, 0.6, epsrel=1e-5
    )[0]
    inside = np.all((np.abs(z) > 0.1) & (np.abs(z) < 0.6), axis=1)
    assert_mean_close(inside, 4 * square)


def test_within_a_group_magnitudes_depend_on_each_other() -> None:
    z = np.abs(member("two", "float32").sample(20_000, seed=[0, 1]).numpy())
    z -= z.mean(0)
    products = z[:, :, None] * z[:, None]
    assert products[:, 0, 2].mean() > 10 * products[:, 0, 2].std() / 20_000**0.5
    assert_mean_close(products[:, [0, 2], 1], 0.0)


EXPONENTS = [*itertools.product((1.0, 1.4, 2.0, 5.0), repeat=2)]


@pytest.mark.parametrize(("outer", "inner"), EXPONENTS)
def test_slopes_are_right_and_finite_at_zero(outer: float, inner: float) -> None:
    p = LpNested([(0, 1), (2, 3)], outer, [inner, inner], dtype="float64")
    z = np.random.default_rng(0).normal(size=(5, 4))
    weights = np.arange(1.0, 6.0)
    assert_gradients(lambda z: tf.reduce_sum(weights * p.log_prob(z)), [z])
    # The last number is too small for a normal one of either type.
    small = [0.0, 2.0, 0.0, 1e-40], [0.0, 2.0, 0.0, 1e-310]
    places = np.array([[0.0] * 4, [0.0, 0.0, 0.5, -1.0], *small])
    for dtype in ("float32", "float64"):
        q = p.copy(dtype=dtype)
        at = tf.cast(places, dtype)
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = q.log_prob(at)
        slopes = tape.gradient(value, at).numpy()
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(slopes))
        np.testing.assert_array_equal(slopes[places == 0], 0)
        assert np.all(slopes[1, 2:] * [0.5, -1.0] < 0)
    np.testing.assert_allclose(value[0], -p.log_normaliser)


def test_far_away_and_with_large_exponents_it_stays_finite() -> None:
    far = LpNested([(0, 1)], 1.0, [10.0])
    z = tf.constant([[1e6, 1e6], [1e-6, 0.0], [1e-30, 1e-30]])
    expected = [1e6 * 2**0.1, 1e-6, 2**0.1 * 1e-30]
    found = -(far.log_prob(z) + far.log_normaliser)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    steep = LpNested([(0, 1), (2,)], 60.0, [80.0, 1.0]).sample(1000, seed=[0, 1])
    assert np.all(np.isfinite(steep))
    assert 0.9 < np.abs(steep).max() < 1.2
    assert np.abs(steep).min() > 0


def test_samples_repeat() -> None:
    p = member("two", "float32")
    z = p.sample([2, 5], seed=[0, 1])
    assert z.shape == [2, 5, 3]
    np.testing.assert_array_equal(z, p.sample([2, 5], seed=[0, 1]))
    assert np.all(z != p.sample([2, 5], seed=[0, 2]))


@pytest.mark.parametrize("beta", [0.4, 3.0])
def test_its_powers_are_of_the_family(beta: float) -> None:
    p = member("two")
    f = anneal(PRIOR(*MEMBERS["two"], dtype="float64"), beta)
    assert f.method == "closed_form"
    assert np.log(integral(p, beta)) == pytest.approx(f.log_normaliser, abs=1e-6)
    z = np.random.default_rng(0).normal(size=(20, 3))
    expected = beta * p.log_prob(z) - f.log_normaliser
    np.testing.assert_allclose(f.log_prob(z), expected, rtol=1e-10)
    samples = powers("two", f.sample(20_000, seed=0).numpy())
    assert_mean_close(beta * samples, [2.0, 1.0])


def test_settings_reach_the_exponents() -> None:
    settings = {"outer_exponent": 1.5, "group_exponent": 3.0, "latent_dim": 6}
    config = ExperimentConfig(prior="lp_nested", subspaces=(3, 1, 2), **settings)
    found = build_vae(config, [3]).prior.get_config()
    assert found["groups"] == [[0, 1, 2], [3], [4, 5]]
    assert found["outer_exponent"] == 1.5
    assert found["group_exponents"] == [3.0] * 3
    assert PRIOR([(0, 1)]).get_config()["outer_exponent"] == 1.0
    assert PRIOR([(0, 1)]).get_config()["group_exponents"] == [2.0]


BAD: dict[str, tuple[str, Any]] = {
    **{
        f"outer {value!r}": (
            "LpNestedPrior: outer_exponent must be a finite number >= 1; received",
            partial(PRIOR, [(0, 1)], value),
        )
        for value in (0.9, 0.0, -1.0, np.nan, np.inf, "2", None, [2.0], True)
    },
    **{
        f"group {value!r}": (
            "group_exponents must be a finite number >= 1, or one for each of the 2",
            partial(PRIOR, [(0, 1), (2,)], 2.0, value),
        )
        for value in (0.5, [2.0], [2.0, 0.5], [2.0, np.inf], [[2.0, 2.0]], None, "22")
    },
    "groups": (
        "LpNestedPrior: groups must hold each of the dimensions from 0 once",
        lambda: PRIOR([(0, 1), (1,)]),
    ),
    "no groups": ("LpNestedPrior: latent_dim must be", lambda: PRIOR([])),
    "number": ("groups must be sequences of dimensions", lambda: PRIOR([1, 2])),
    "config": ("outer_exponent", lambda: ExperimentConfig(outer_exponent=0.5)),
    "config groups": (
        "subspaces=2 have 2 dimensions in all; received latent_dim=3",
        lambda: ExperimentConfig(prior="lp_nested", latent_dim=3),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)
