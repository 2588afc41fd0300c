# SPDX-License-Identifier: Apache-2.0
"""The importance-weighted bound against exact marginal likelihoods."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import PRIORS, data, make_vae

from tf_decomp.errors import InputError
from tf_decomp.metrics.likelihood import marginal_log_likelihood
from tf_decomp.objectives import importance_weighted_bound
from tf_decomp.priors import NormalPrior

tfd = tfp.distributions

WEIGHTS = np.array([[1.0, 0.5, -0.7, 0.0, 0.3], [0.2, -1.0, 0.4, 0.8, 0.0]])
NOISE = 0.5


class LinearGaussian:
    """p(x|z) = N(z WEIGHTS, NOISE^2 I), p(z) = N(0, I), and a posterior too wide.

    With `widening` 1 the posterior is the exact one.
    """

    def __init__(self, widening: float) -> None:
        covariance = np.linalg.inv(np.eye(2) + WEIGHTS @ WEIGHTS.T / NOISE**2)
        self.gain = WEIGHTS.T @ covariance / NOISE**2
        self.tril = widening * np.linalg.cholesky(covariance)
        self.prior = NormalPrior(2)

    def encode(self, x: Any) -> Any:
        loc = tf.cast(x, tf.float32) @ tf.constant(self.gain, tf.float32)
        tril = tf.constant(self.tril, tf.float32)
        return tfd.MultivariateNormalTriL(loc, tril)

    def decode(self, z: Any) -> Any:
        loc = z @ tf.constant(WEIGHTS, tf.float32)
        return tfd.MultivariateNormalDiag(loc, tf.fill(tf.shape(loc), NOISE))

    def exact(self, x: np.ndarray) -> np.ndarray:
        covariance = WEIGHTS.T @ WEIGHTS + NOISE**2 * np.eye(5)
        return scipy.stats.multivariate_normal(np.zeros(5), covariance).logpdf(x)

    def elbo(self, x: np.ndarray) -> np.ndarray:
        """log p(x) - KL(q || exact posterior)."""
        ratio = np.linalg.det(self.tril) / np.linalg.det(LinearGaussian(1.0).tril)
        return self.exact(x) - (ratio - 1 - np.log(ratio))  # two dimensions


def linear_data(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z, noise = rng.normal(size=(n, 2)), rng.normal(size=(n, 5))
    return (z @ WEIGHTS + NOISE * noise).astype(np.float32)


# -- known answers ----------------------------------------------------------------


def test_linear_gaussian_model() -> None:
    model, x = LinearGaussian(2.0), linear_data(100)
    exact = model.exact(x)
    report = marginal_log_likelihood(model, x, num_samples=5000)
    error = report.monte_carlo_error
    assert 0.0 < error < 0.005
    assert 0.0 < report.bias_bound < 0.001
    assert abs(report.value - exact.mean()) < 5 * error + report.bias_bound
    over_data = exact.std(ddof=1) / 10
    assert report.standard_error == pytest.approx(over_data, rel=0.05)
    assert (report.n, report.num_samples, report.low_share) == (100, 5000, 0.0)
    # E w^2 of a normal by a normal of twice the scale, in two dimensions: 16 / 7.
    effective = report.effective_sample_size
    assert effective.value == pytest.approx(5000 * 7 / 16, rel=0.02)
    assert report.bias_bound == pytest.approx((16 / 7 - 1) / 1e4, rel=0.05)

    assert list(report.curve) == [1, 10, 100, 1000, 5000]
    means = [estimate.value for estimate in report.curve.values()]
    assert means == sorted(means)
    assert report.curve[5000] == (report.value, report.standard_error, 100)
    elbo = report.curve[1]
    assert elbo.n == 100
    # Of 500,000 log weights, whose standard deviation is 3 about.
    assert abs(elbo.value - model.elbo(x).mean()) < 5 * 3 / np.sqrt(500_000)


def test_an_exact_posterior_has_equal_weights() -> None:
    model, x = LinearGaussian(1.0), linear_data(30)
    report = marginal_log_likelihood(model, x, num_samples=20)
    assert report.value == pytest.approx(model.exact(x).mean(), abs=1e-5)
    assert report.monte_carlo_error < 1e-5
    assert report.bias_bound < 1e-5
    assert report.effective_sample_size.value == pytest.approx(20, rel=1e-5)
    assert [e.value for e in report.curve.values()] == pytest.approx(
        [report.value] * 3, abs=1e-5
    )


def test_a_low_effective_sample_size_is_told() -> None:
    report = marginal_log_likelihood(LinearGaussian(100.0), linear_data(200), 1000)
    assert report.effective_sample_size.value < 3
    assert report.low_share > 0.9
    assert report.bias_bound > 0.1


@pytest.mark.parametrize(
    "name",
    [
        "normal_learnt_fixed_total",
        "student_t",
        "normal_mixture_weighted",
        "spike_and_slab",
        "fixed_laplace",
        "fixed_normal_tril",
        "fixed_mixture",
    ],
)
def test_every_prior(name: str) -> None:
    # x = z + noise in two dimensions: p(x) is an integral over a grid.
    class Identity:
        prior = PRIORS[name]()

        def encode(self, x: Any) -> Any:
            return tfd.Independent(tfd.StudentT(4.0, x, tf.fill(tf.shape(x), 0.6)), 1)

        def decode(self, z: Any) -> Any:
            return tfd.MultivariateNormalDiag(z, tf.fill(tf.shape(z), 0.5))

    x = np.array([[0.3, -0.2], [1.0, 0.1], [-2.0, 1.5]], np.float32)
    side = np.arange(-7, 7, 0.02)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    density = np.exp(Identity.prior.distribution.log_prob(grid.astype(np.float32)))
    known = [scipy.stats.multivariate_normal(row, 0.25).pdf(grid) for row in x]
    exact = np.log(np.array(known) @ density.astype(np.float64) * 0.02**2)
    report = marginal_log_likelihood(Identity(), x, num_samples=10_000)
    error = report.monte_carlo_error
    assert 0.0 < error < 0.08
    assert abs(report.value - exact.mean()) < 5 * error + report.bias_bound


# -- the estimator and its errors -------------------------------------------------


@pytest.mark.parametrize("num_samples", [1, 5, 50])
def test_it_agrees_with_the_bound_of_the_objectives(num_samples: int) -> None:
    vae, x, copies = make_vae(), data(100), 20
    tiled = np.tile(x, (copies, 1))
    report = marginal_log_likelihood(vae, tiled, num_samples, seed=0)
    bounds = importance_weighted_bound(vae, tiled, num_samples, seed=1)
    noise = np.reshape(bounds, [copies, 100]).var(axis=0, ddof=1).mean()
    difference = report.value - np.mean(bounds, dtype=np.float64)
    assert abs(difference) < 5 * np.sqrt(2 * noise / len(tiled))


def test_the_monte_carlo_error_is_the_spread_over_seeds() -> None:
    # Noise differs between data, so that copies of one are as good as seeds.
    n, model = 10_000, LinearGaussian(2.0)
    x = np.repeat(linear_data(1), n, axis=0)
    report = marginal_log_likelihood(model, x, num_samples=100)
    # The standard deviation of n numbers has the relative error 1 / sqrt(2 n).
    ratio = report.standard_error / report.monte_carlo_error
    assert abs(ratio - 1) < 5 / np.sqrt(2 * n)
    bias = model.exact(x[:1]) - report.value
    assert bias > 5 * report.monte_carlo_error
    assert abs(bias - report.bias_bound) < 5 * report.monte_carlo_error


def test_one_sample_has_no_monte_carlo_error() -> None:
    report = marginal_log_likelihood(LinearGaussian(2.0), linear_data(10), 1)
    assert np.isnan(report.monte_carlo_error)
    assert np.isnan(report.bias_bound)
    assert np.isfinite(report.value)
    assert report.effective_sample_size.value == pytest.approx(1)
    assert list(report.curve) == [1]


# -- data and seeds ---------------------------------------------------------------


def test_data_may_come_in_batches() -> None:
    model, x = LinearGaussian(2.0), linear_data(230)
    whole = marginal_log_likelihood(model, x, 7)
    pairs = [(x[i : i + 100], None) for i in range(0, 230, 100)]
    stream = tf.data.Dataset.from_tensor_slices(x).batch(100)
    for given in (pairs, stream):
        assert marginal_log_likelihood(model, given, 7) == whole
    uneven = marginal_log_likelihood(model, [x[:150], x[150:]], 7)
    assert uneven.n == 230
    assert uneven.value != whole.value
    error = np.hypot(uneven.monte_carlo_error, whole.monte_carlo_error)
    assert abs(uneven.value - whole.value) < 5 * error


def test_noise_comes_from_the_seed() -> None:
    model, x = LinearGaussian(2.0), linear_data(10)
    first = marginal_log_likelihood(model, x, 7, seed=0)
    assert marginal_log_likelihood(model, x, 7, seed=0) == first
    assert marginal_log_likelihood(model, x, 7, seed=1).value != first.value


def test_bad_input_is_refused() -> None:
    with pytest.raises(
        InputError, match="num_samples must be a whole number >= 1; received 0"
    ):
        marginal_log_likelihood(make_vae(), data(3), 0)
    with pytest.raises(InputError, match="no datum"):
        marginal_log_likelihood(make_vae(), data(0), 5)
