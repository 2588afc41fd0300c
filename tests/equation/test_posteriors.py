# SPDX-License-Identifier: Apache-2.0
"""Posterior heads, their aggregate q(z), and reparameterised samples."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import FAMILIES, LATENT_DIM, POSTERIORS, family_posterior, head_parameters
from monte_carlo import assert_mean_close

from tf_decomp.posteriors import (
    SCALE_FLOOR,
    LaplacePosterior,
    NormalPosterior,
    aggregate_posterior,
    positive_scale,
)
from tf_decomp.sampling import (
    LocationScale,
    draw_noise,
    join,
    location_scale,
    plain,
    sample_with,
    standard_noise,
    stateless_seed,
)

tfd = tfp.distributions
Z = np.random.default_rng(1).normal(size=(6, LATENT_DIM))
SEED = tf.constant([0, 1])


def independent(family: Any, scale: Any = 0.5) -> Any:
    return tfd.Independent(family(tf.constant([[0.3, -1.0]] * 4), scale), 1)


# -- heads ------------------------------------------------------------------------


def test_positive_scale() -> None:
    raw = np.array([-1000.0, -5.0, 0.0, 5.0, 1000.0])
    expected = SCALE_FLOOR + np.logaddexp(0, raw)
    np.testing.assert_allclose(positive_scale(tf.constant(raw)), expected, rtol=1e-12)
    assert np.all(positive_scale(tf.constant(raw, tf.float32)) >= np.float32(1e-4))


@pytest.mark.parametrize(
    ("head", "family"),
    [(NormalPosterior, scipy.stats.norm), (LaplacePosterior, scipy.stats.laplace)],
)
def test_head_is_its_family(head: Any, family: Any) -> None:
    parameters = np.random.default_rng(0).normal(size=(6, 2 * LATENT_DIM))
    posterior = head(LATENT_DIM, dtype="float64")(tf.constant(parameters))
    loc, raw = np.split(parameters, 2, axis=-1)
    scale = SCALE_FLOOR + np.logaddexp(0, raw)
    expected = family(loc, scale).logpdf(Z).sum(-1)
    np.testing.assert_allclose(posterior.log_prob(Z), expected, rtol=1e-9)
    np.testing.assert_allclose(posterior.mean(), loc)


# -- reparameterisation -----------------------------------------------------------

LOCATION_SCALE = {
    "diag": (lambda: family_posterior("multivariate_normal_diag"), tfd.Normal),
    "normal": (lambda: independent(tfd.Normal), tfd.Normal),
    "laplace": (lambda: independent(tfd.Laplace), tfd.Laplace),
    "logistic": (lambda: independent(tfd.Logistic), tfd.Logistic),
    "gumbel": (lambda: independent(tfd.Gumbel), tfd.Gumbel),
}
OTHERS = {
    "tril": lambda: family_posterior("multivariate_normal_tril"),
    "student_t": lambda: tfd.Independent(
        tfd.StudentT(5.0, tf.zeros([4, 2]), tf.ones([4, 2])), 1
    ),
    "mixture": lambda: aggregate_posterior(family_posterior("independent_laplace")),
}


@pytest.mark.parametrize("name", LOCATION_SCALE)
def test_location_scale(name: str) -> None:
    make, family = LOCATION_SCALE[name]
    posterior = make()
    parts = location_scale(posterior)
    assert isinstance(parts, LocationScale)
    assert type(parts.noise) is family
    assert parts.loc.shape == parts.scale.shape == [4, LATENT_DIM]
    # The density of loc + scale * noise is that of the posterior.
    standard = parts.noise.log_prob((Z[:4] - parts.loc) / parts.scale)
    log_prob = tf.reduce_sum(standard - tf.math.log(parts.scale), -1)
    np.testing.assert_allclose(posterior.log_prob(Z[:4]), log_prob, rtol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_not_taken_apart(name: str) -> None:
    posterior = OTHERS[name]()
    assert location_scale(posterior) is None
    assert standard_noise(posterior) is None
    noise = draw_noise(posterior, [3, 4], SEED)
    np.testing.assert_array_equal(noise, SEED)
    samples = sample_with(posterior, [3], noise)
    np.testing.assert_array_equal(samples, posterior.sample(3, seed=SEED))


def test_the_noise_of_flows_is_normal_but_no_part_of_loc_and_scale() -> None:
    posterior = family_posterior("flow")
    assert location_scale(posterior) is None
    noise = standard_noise(posterior)
    assert type(noise) is tfd.Normal
    assert (float(noise.loc), float(noise.scale)) == (0.0, 1.0)


@pytest.mark.parametrize("name", LOCATION_SCALE)
def test_sample_with(name: str) -> None:
    posterior = LOCATION_SCALE[name][0]()
    known = location_scale(posterior).noise
    assert type(standard_noise(posterior)) is type(known)
    noise = draw_noise(posterior, [20_000, 4], SEED)
    samples = sample_with(posterior, [20_000], noise)
    assert samples.shape == [20_000, 4, LATENT_DIM]
    assert_mean_close(samples, posterior.mean())
    assert_mean_close((samples - posterior.mean()) ** 2, posterior.variance())
    # Another member of the family takes the same noise.
    again = draw_noise(posterior, [20_000, 4], SEED)
    np.testing.assert_array_equal(noise, again)
    assert not np.allclose(noise, draw_noise(posterior, [20_000, 4], SEED + 1))


@pytest.mark.parametrize("name", LOCATION_SCALE)
def test_samples_carry_gradients(name: str) -> None:
    loc, noise = tf.zeros([4, 2]), tf.ones([3, 4, 2])
    family = LOCATION_SCALE[name][1]
    with tf.GradientTape() as tape:
        tape.watch(loc)
        if name == "diag":
            posterior: Any = tfd.MultivariateNormalDiag(loc, tf.ones([4, 2]))
        else:
            posterior = tfd.Independent(family(loc, 1.0), 1)
        total = tf.reduce_sum(sample_with(posterior, [3], noise))
    np.testing.assert_array_equal(tape.gradient(total, loc), 3 * np.ones([4, 2]))


# -- plain ------------------------------------------------------------------------


@pytest.mark.parametrize("name", POSTERIORS)
def test_plain_takes_off_the_coercion(name: str) -> None:
    head = POSTERIORS[name]()
    coerced = head(tf.constant(head_parameters(head, 4), tf.float32))
    posterior = plain(coerced)
    assert isinstance(posterior, tf.__internal__.CompositeTensor)
    assert not hasattr(posterior, "tensor_distribution")
    np.testing.assert_array_equal(posterior.log_prob(Z[:4]), coerced.log_prob(Z[:4]))

    @tf.function
    def mean(posterior: Any) -> tf.Tensor:
        return posterior.mean()

    for _ in range(3):
        mean(plain(head(tf.constant(head_parameters(head, 4), tf.float32))))
    assert mean.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_plain_have_the_batch_first(family: str) -> None:
    posterior = family_posterior(family)
    flat = tf.nest.flatten(plain(posterior), expand_composites=True)
    assert all(len(parameter) == 4 for parameter in flat)
    np.testing.assert_array_equal(
        plain(posterior).log_prob(Z[:4]), posterior.log_prob(Z[:4])
    )


def test_plain_keeps_the_event() -> None:
    images = tfd.Independent(tfd.Laplace(tf.zeros([4, 5, 5, 1]), 0.1), 3)
    assert plain(images).event_shape == [5, 5, 1]
    assert plain(images).batch_shape == [4]
    assert plain(images).log_prob(tf.zeros([4, 5, 5, 1])).shape == [4]


# -- join -------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_join_keeps_every_member_and_their_order(family: str) -> None:
    first = family_posterior(family)
    second = family_posterior(family)[:3]
    joined = join([first, second])
    assert joined.batch_shape == [7]
    expected = np.concatenate([first.log_prob(Z[:4]), second.log_prob(Z[1:4])])
    values = np.concatenate([Z[:4], Z[1:4]])
    np.testing.assert_allclose(joined.log_prob(values), expected, rtol=1e-6)


# -- the aggregate posterior ------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_aggregate_posterior_is_the_uniform_mixture(family: str) -> None:
    posterior = family_posterior(family, "float64")
    log_probs = posterior.log_prob(Z[:, None])  # [6, 4]
    expected = scipy.special.logsumexp(log_probs, axis=1) - np.log(4)
    got = aggregate_posterior(posterior).log_prob(Z)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_aggregate_posterior_samples() -> None:
    posterior = family_posterior("independent_laplace")
    samples = aggregate_posterior(posterior).sample(50_000, seed=SEED)
    second = np.mean(posterior.variance() + posterior.mean() ** 2, axis=0)
    assert_mean_close(samples, np.mean(posterior.mean(), axis=0))
    assert_mean_close(samples**2, second)


def test_seeds_are_a_function_of_base_and_stream() -> None:
    assert stateless_seed(None) is None
    seeds = [stateless_seed(*pair).numpy() for pair in ((0, 0), (0, 1), (1, 0))]
    again = [stateless_seed(*pair).numpy() for pair in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(seeds, again)
    assert len({tuple(seed) for seed in seeds}) == 3
    draws = [tfd.Normal(0.0, 1.0).sample(1000, seed=seed).numpy() for seed in seeds]
    correlations = np.corrcoef(draws)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(1000)
