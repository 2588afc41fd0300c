# SPDX-License-Identifier: Apache-2.0
"""The terms of equation (7) and the IWAE bound, on models whose log p(x) is known."""

from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import PRIORS, data, make_vae
from monte_carlo import assert_mean_below, assert_mean_close, assert_mean_surely_below

from tf_decomp.errors import InputError
from tf_decomp.objectives import (
    ObjectiveTerms,
    decomposition_objective,
    importance_weighted_bound,
    objective_terms,
)
from tf_decomp.priors import NormalPrior
from tf_decomp.vae import DecompositionVAE

tfd = tfp.distributions

# x = W z + b + NOISE eps; the columns of the first W are orthogonal, so that its
# posterior is diagonal.
ORTHOGONAL = np.array([[1.0, 0.5], [-1.0, 0.5], [0.5, 1.0]]) * [1.0, 0.8]
SKEW = np.array([[1.0, 0.5], [0.3, -0.7], [0.2, 0.9]])
OFFSET = np.array([0.5, -1.0, 0.0])
NOISE = 0.6


class Linear(keras.Model):
    """p(x|z) of the linear-Gaussian model."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.kernel = tf.constant(weights, tf.float32)

    def call(self, z: Any, training: bool = False) -> Any:
        loc = z @ tf.transpose(self.kernel) + tf.constant(OFFSET, tf.float32)
        return tfd.MultivariateNormalDiag(loc, NOISE * tf.ones_like(loc))


class Exact(keras.Model):
    """The exact posterior, moved and stretched if a bound is to be loose."""

    def __init__(
        self,
        weights: np.ndarray,
        variances: np.ndarray,
        shift: float = 0.0,
        stretch: float = 1.0,
    ) -> None:
        super().__init__()
        precision = np.diag(1 / variances) + weights.T @ weights / NOISE**2
        self.covariance = np.linalg.inv(precision)
        self.matrix = weights @ self.covariance / NOISE**2
        self.shift, self.stretch = shift, stretch

    def call(self, x: Any, training: bool = False) -> Any:
        matrix = tf.constant(self.matrix, tf.float32)
        loc = (x - tf.constant(OFFSET, tf.float32)) @ matrix + self.shift
        tril = tf.constant(np.linalg.cholesky(self.covariance), tf.float32)
        tril = tf.tile(self.stretch * tril[None], [tf.shape(x)[0], 1, 1])
        if np.allclose(self.covariance, np.diag(np.diag(self.covariance))):
            return tfd.MultivariateNormalDiag(loc, tf.linalg.diag_part(tril))
        return tfd.MultivariateNormalTriL(loc, tril)


MODELS = {
    "diagonal, standard prior": (ORTHOGONAL, np.ones(2)),
    "diagonal, other prior": (ORTHOGONAL, np.array([2.0, 0.5])),
    "full covariance, other prior": (SKEW, np.array([3.0, 0.4])),
}


class Known:
    """A model, data from it, and log p(x)."""

    def __init__(self, name: str, n: int = 2000, **posterior: float) -> None:
        weights, variances = MODELS[name]
        self.vae = DecompositionVAE(
            Exact(weights, variances, **posterior),
            Linear(weights),
            NormalPrior(2, variances),
        )
        covariance = weights @ np.diag(variances) @ weights.T + NOISE**2 * np.eye(3)
        marginal = scipy.stats.multivariate_normal(OFFSET, covariance)
        self.x = marginal.rvs(n, random_state=0).astype("float32")
        self.log_p = marginal.logpdf(self.x)
        exact = Exact(weights, variances)(tf.constant(self.x))
        self.gap = tfd.kl_divergence(self.vae.encode(self.x), exact).numpy()

    def elbo(self, num_samples: int = 1) -> np.ndarray:
        posterior = self.vae.encode(self.x)
        latents = posterior.sample(num_samples, seed=[0, 1])
        prior = self.vae.prior.distribution
        terms = objective_terms(
            tf.constant(self.x), posterior, prior, self.vae.decode, latents
        )
        assert terms.divergence is None
        return (terms.log_likelihood - terms.kl).numpy()

    def bound(self, num_samples: int, seed: int = 0) -> np.ndarray:
        return importance_weighted_bound(
            self.vae, tf.constant(self.x), num_samples, seed=seed
        ).numpy()


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_exact_posterior_gives_log_p(name: str, num_samples: int) -> None:
    known = Known(name)
    np.testing.assert_allclose(known.gap, 0, atol=1e-5)
    assert_mean_close(known.elbo(num_samples) - known.log_p, 0.0)
    # Every importance weight is p(x).
    np.testing.assert_allclose(known.bound(num_samples), known.log_p, atol=5e-5)


@pytest.mark.parametrize("name", MODELS)
def test_bounds_are_ordered(name: str) -> None:
    known = Known(name, shift=0.4, stretch=1.6)
    elbo, log_p = known.elbo(), known.log_p
    assert np.min(known.gap) > 0.3
    assert_mean_close(elbo - (log_p - known.gap), 0.0)
    assert_mean_close(known.bound(1) - (log_p - known.gap), 0.0)
    bounds = [known.bound(num_samples) for num_samples in (5, 50, 500)]
    for lower, upper in zip([elbo, *bounds], [*bounds, log_p], strict=True):
        assert_mean_below(lower - upper, 0.0)
    assert_mean_surely_below(elbo - bounds[0], 0.0)
    assert_mean_surely_below(bounds[0] - bounds[1], 0.0)
    # The bias falls as 1 / K.
    biases = [float(np.mean(log_p - bound)) for bound in bounds[:2]]
    assert biases[1] < biases[0] / 5


def test_bound_repeats_with_a_seed_alone() -> None:
    known = Known("diagonal, standard prior", n=10, shift=0.4)
    np.testing.assert_array_equal(known.bound(3, seed=1), known.bound(3, seed=1))
    assert not np.allclose(known.bound(3, seed=1), known.bound(3, seed=2))
    fresh = [importance_weighted_bound(known.vae, known.x, 3) for _ in range(2)]
    assert not np.allclose(*fresh)


@pytest.mark.parametrize("name", ["normal_mixture", "student_t_inf", "fixed_laplace"])
def test_bound_uses_the_models_own_prior(name: str) -> None:
    vae, x = make_vae(prior=PRIORS[name]()), data(20)
    got = importance_weighted_bound(vae, x, 4, seed=3)
    # The same samples again, by the definition.
    posterior, seed = vae.encode(x), tf.random.fold_in([3, 0], 0)
    latents = posterior.sample(4, seed=seed)
    log_x = tf.stack([vae.decode(z).log_prob(x) for z in latents])
    weights = log_x + vae.prior.distribution.log_prob(latents)
    weights -= posterior.log_prob(latents)
    expected = scipy.special.logsumexp(weights, axis=0) - np.log(4)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert np.all(np.isfinite(got))


def test_bound_needs_a_sample() -> None:
    with pytest.raises(
        InputError, match="num_samples must be a whole number >= 1; received 0"
    ):
        importance_weighted_bound(make_vae(), data(2), 0)


# -- the terms --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "normal_mixture"])
def test_terms_average_the_samples(name: str) -> None:
    vae, x = make_vae(prior=PRIORS[name]()), tf.constant(data(6))
    posterior, prior = vae.encode(x), vae.prior.distribution
    latents = posterior.sample(3, seed=[0, 1])
    terms = objective_terms(
        x, posterior, prior, vae.decode, latents, divergence=tf.constant(0.5)
    )
    log_x = np.mean([vae.decode(z).log_prob(x) for z in latents], axis=0)
    np.testing.assert_allclose(terms.log_likelihood, log_x, rtol=1e-5)
    kl = tf.reduce_mean(posterior.log_prob(latents) - prior.log_prob(latents), 0)
    if name == "normal":
        kl = tfd.kl_divergence(posterior, prior)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-5)
    np.testing.assert_array_equal(terms.divergence, 0.5)


def test_objective_is_equation_7() -> None:
    terms = ObjectiveTerms(
        tf.constant([-3.0, -1.0]), tf.constant([2.0, 0.5]), tf.constant(0.25)
    )
    got = decomposition_objective(terms, alpha=4.0, beta=0.5)
    np.testing.assert_allclose(got, [-3 - 1 - 1, -1 - 0.25 - 1])
    got = decomposition_objective(terms._replace(divergence=None), alpha=4.0, beta=0.5)
    np.testing.assert_allclose(got, [-3 - 1, -1 - 0.25])
    elbo = decomposition_objective(terms, alpha=0.0, beta=1.0)
    np.testing.assert_allclose(elbo, [-5.0, -1.5])
