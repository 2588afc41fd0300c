# SPDX-License-Identifier: Apache-2.0
"""Overlap of encodings whose overlap is known, and how data are encoded."""

from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import FAMILIES, data, family_posterior, make_vae

from tf_decomp.errors import InputError
from tf_decomp.metrics.encodings import (
    aggregate_sources,
    encode_data,
    sample_aggregate,
)
from tf_decomp.metrics.overlap import overlap_report
from tf_decomp.networks import MLPEncoder
from tf_decomp.priors import NormalPrior, StudentTPrior

tfd = tfp.distributions
N = 50


def normal(loc: Any, scale: Any) -> Any:
    loc = tf.constant(loc, tf.float32)
    return tfd.MultivariateNormalDiag(loc, tf.ones_like(loc) * scale)


def line(distance: float) -> np.ndarray:
    return distance * np.stack([np.arange(N), np.zeros(N)], axis=1)


# -- known answers ----------------------------------------------------------------


@pytest.mark.parametrize(("distance", "scale"), [(10.0, 1e-3), (1e16, 1e-4)])
def test_lookup_table(distance: float, scale: float) -> None:
    report = overlap_report(normal(line(distance), scale))
    assert report.overlap == (1.0, 0.0, 1000)
    assert report.mutual_information == (np.log(N), 0.0, 1000)
    assert report.mutual_information_bound == np.log(N)
    assert report.own_share.value == 1.0
    assert (report.verdict, report.n) == ("not resolvable with n = 50 data", N)


def linear_gaussian(n: int, latent_dim: int, information: float, seed: int = 0) -> Any:
    """Encodings whose q(z) is N(0, I), and I(x; z) as given."""
    scale = np.exp(-information / latent_dim)
    loc = np.random.default_rng(seed).normal(size=(n, latent_dim))
    return normal(np.sqrt(1 - scale**2) * loc, scale)


@pytest.mark.parametrize("information", [39.0, 53.0])
def test_a_perfect_match_beyond_log_n_is_no_lookup_table(information: float) -> None:
    posterior = linear_gaussian(1234, 50, information)
    report = overlap_report(posterior, num_queries=200, prior=NormalPrior(50))
    assert report.verdict == "not resolvable with n = 1,234 data"
    assert report.kl is not None
    # KL(q(z|x) || p) = I + KL(q(z) || p), and the second is 0.
    assert abs(report.kl.value - information) < 5 * report.kl.standard_error


@pytest.mark.parametrize("latent_dim", [1, 2, 5, 10, 50])
def test_what_is_resolved_is_within_a_nat(latent_dim: int) -> None:
    n, verdicts = 2000, []
    for information in (2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0):
        posterior = linear_gaussian(n, latent_dim, information)
        report = overlap_report(posterior, num_queries=300)
        error = report.mutual_information.standard_error
        bias = information - report.mutual_information.value
        verdicts.append(report.verdict == "appropriate")
        if verdicts[-1]:
            assert -5 * error < bias < 0.7 + 5 * error
        else:
            assert bias > 0.25 - 5 * error
    assert verdicts == sorted(verdicts, reverse=True)
    assert verdicts[1]
    assert not verdicts[-2]


def test_the_own_share_is_that_of_the_datum_that_gave_a_code() -> None:
    posterior = linear_gaussian(200, 2, 4.0)
    z = sample_aggregate(posterior, 5000, seed=7)
    log_probs = np.asarray(posterior.log_prob(z[:, None]), np.float64)
    shares = scipy.special.softmax(log_probs, axis=1)
    own = shares[np.arange(5000), aggregate_sources(200, 5000, seed=7)]
    report = overlap_report(posterior, num_queries=5000)
    error = np.hypot(own.std() / np.sqrt(5000), report.own_share.standard_error)
    assert abs(report.own_share.value - own.mean()) < 5 * error


def test_the_kl_needs_a_prior_that_fits() -> None:
    posterior = normal(line(1.0), 1.0)
    assert overlap_report(posterior).kl is None
    report = overlap_report(posterior, prior=StudentTPrior(2, 3.0))
    assert report.kl is not None
    assert report.kl.n == N
    with pytest.raises(InputError, match=r"event shape \(2,\).* received \(3,\)"):
        overlap_report(posterior, prior=NormalPrior(3))


def test_total_overlap() -> None:
    report = overlap_report(normal(np.full((N, 2), 0.3), 1.0))
    assert report.overlap.value == pytest.approx(N, rel=1e-12)
    assert report.mutual_information.value == pytest.approx(0.0, abs=1e-12)
    assert report.overlap.standard_error == pytest.approx(0.0, abs=1e-12)
    assert report.verdict == "over-smoothed"
    assert report.active == ()


def test_two_groups() -> None:
    loc = np.repeat([[-100.0, 0.0], [100.0, 0.0]], N // 2, axis=0)
    report = overlap_report(normal(loc, 1.0))
    assert report.overlap.value == pytest.approx(N / 2, rel=1e-12)
    assert report.mutual_information.value == pytest.approx(np.log(2), rel=1e-12)
    assert report.verdict == "appropriate"
    assert report.active == (0,)


LOCS, SCALES = (
    np.array([-1.0, -0.5, 0.2, 2.0, 2.5]),
    np.array([0.3, 1.0, 0.4, 0.3, 0.5]),
)


def test_overlap_on_a_line_is_the_integral() -> None:
    z = np.linspace(-10, 10, 20_001)
    for family, known in (
        (tfd.Normal, scipy.stats.norm),
        (tfd.Laplace, scipy.stats.laplace),
    ):
        densities = known(LOCS[:, None], SCALES[:, None]).pdf(z)
        shares = densities / densities.sum(axis=0)
        entropy = -scipy.special.xlogy(shares, shares).sum(axis=0)
        exact = np.trapezoid(densities.mean(axis=0) * entropy, z)
        loc, scale = (tf.constant(a[:, None], tf.float32) for a in (LOCS, SCALES))
        report = overlap_report(tfd.Independent(family(loc, scale), 1), seed=1)
        information, overlap = report.mutual_information, report.overlap
        error = information.standard_error
        assert 0.0 < error < 0.03
        assert abs(information.value - (np.log(5) - exact)) < 5 * error
        assert abs(overlap.value - np.exp(exact)) < 5 * overlap.standard_error
        assert overlap.standard_error == pytest.approx(overlap.value * error)
        assert overlap.n == information.n == 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_definition_at_its_queries(family: str) -> None:
    posterior = family_posterior(family)
    queries = sample_aggregate(posterior, 40, seed=3)
    log_probs = np.asarray(posterior.log_prob(queries[:, None]), np.float64)
    shares = scipy.special.softmax(log_probs, axis=1)
    entropies = -scipy.special.xlogy(shares, shares).sum(axis=1)
    report = overlap_report(posterior, num_queries=40, seed=3)
    expected = np.log(4) - entropies.mean()
    assert report.mutual_information.value == pytest.approx(expected, rel=1e-5)
    error = entropies.std(ddof=1) / np.sqrt(40)
    assert report.mutual_information.standard_error == pytest.approx(error, rel=1e-5)


def test_many_encodings_that_are_equal_but_for_rounding() -> None:
    # Sums of so many shares, none of them a whole number, must not drift.
    n = 737_280
    loc = np.random.default_rng(0).normal(scale=1e-3, size=(n, 1))
    report = overlap_report(normal(loc, 1.0), num_queries=10)
    # Half the signal-to-noise ratio of such a channel: 5e-7.
    assert report.mutual_information.value == pytest.approx(5e-7, abs=1e-6)


# -- queries ----------------------------------------------------------------------


def test_queries_come_from_every_datum_alike_and_from_the_seed() -> None:
    posterior = normal(line(100.0), 1e-3)
    for count, least, most in ((10, 0, 1), (N, 1, 1), (3 * N, 3, 3), (130, 0, 3)):
        z = sample_aggregate(posterior, count, seed=0).numpy()
        sources = np.bincount(np.rint(z[:, 0] / 100.0).astype(int), minlength=N)
        assert z.shape == (count, 2)
        assert sources.sum() == count
        assert sources.min() >= least
        assert sources.max() <= most
    first = overlap_report(normal(line(1.0), 1.0), seed=0)
    assert overlap_report(normal(line(1.0), 1.0), seed=0) == first
    assert overlap_report(normal(line(1.0), 1.0), seed=1).overlap != first.overlap


def test_the_noise_of_queries_is_the_posteriors() -> None:
    posterior = tfd.MultivariateNormalTriL(
        tf.constant([[1.0, -1.0]]), tf.constant([[[2.0, 0.0], [1.0, 0.5]]])
    )
    z = sample_aggregate(posterior, 20_000, seed=0).numpy()
    whitened = np.linalg.solve([[2.0, 0.0], [1.0, 0.5]], (z - [1.0, -1.0]).T)
    for row in whitened:
        assert scipy.stats.kstest(row, "norm").pvalue > 1e-3
    assert abs(np.mean(whitened[0] * whitened[1])) < 5 / np.sqrt(20_000)


# -- entropy and active units -----------------------------------------------------


def test_encoder_entropy_per_dimension() -> None:
    scale = np.array([0.1, 2.0])
    each = 0.5 * np.log(2 * np.pi * np.e * scale**2)
    report = overlap_report(normal(line(1.0), scale), num_queries=10)
    assert report.encoder_entropies == pytest.approx(each, rel=1e-5)
    assert report.encoder_entropy.value == pytest.approx(each.mean(), rel=1e-5)
    assert report.encoder_entropy.standard_error == pytest.approx(0.0, abs=1e-6)
    assert report.encoder_entropy.n == N


def test_encoder_entropy_of_other_families() -> None:
    posterior = family_posterior("independent_laplace")
    report = overlap_report(posterior, num_queries=10)
    each = 1 + np.log(2 * posterior.distribution.scale.numpy())
    assert report.encoder_entropies == pytest.approx(each.mean(axis=0), rel=1e-5)
    error = each.mean(axis=1).std(ddof=1) / 2
    assert report.encoder_entropy == pytest.approx((each.mean(), error, 4), rel=1e-5)

    posterior = family_posterior("multivariate_normal_tril")
    report = overlap_report(posterior, num_queries=10)
    tril = posterior.scale_tril.numpy()
    constant = 0.5 * np.log(2 * np.pi * np.e)
    joint = constant + np.log(tril[:, [0, 1], [0, 1]]).mean(axis=1)
    spread = np.sqrt((tril**2).sum(axis=2))
    assert report.encoder_entropy.value == pytest.approx(joint.mean(), rel=1e-5)
    marginal = constant + np.log(spread).mean(axis=0)
    assert report.encoder_entropies == pytest.approx(marginal, rel=1e-5)


def test_encoder_entropy_without_a_closed_form() -> None:
    n, parts = 2000, tf.constant([[[-50.0, 0.0], [50.0, 0.0]]])
    posterior = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros([n, 2])),
        tfd.MultivariateNormalDiag(tf.repeat(parts, n, axis=0), tf.ones([n, 2, 2])),
    )
    report = overlap_report(posterior, num_queries=10)
    known = (np.log(2) + np.log(2 * np.pi * np.e)) / 2
    entropy = report.encoder_entropy
    assert 0.0 < entropy.standard_error < 0.02
    assert abs(entropy.value - known) < 5 * entropy.standard_error
    assert report.encoder_entropies == ()


# -- where scales, I(x; z) and overlap part: docs/howto/overlap.md ------------------


def information_of_two(distance: float) -> float:
    """I(x; z) of two normals of one covariance, so many standard deviations apart."""
    z = np.linspace(-14, 14 + distance, 200_001)
    density = np.exp(-((z - distance) ** 2) / 2) / np.sqrt(2 * np.pi)
    lost = np.logaddexp(0, distance * (distance / 2 - z))
    return float(np.log(2) - np.sum(density * lost) * (z[1] - z[0]))


def test_scales_alone_do_not_tell_the_overlap() -> None:
    axes = np.array([[1, 1], [1, -1]]) / 2**0.5
    covariance = axes.T @ np.diag([2.0**2, 0.1**2]) @ axes
    loc = np.outer([0.5, -0.5], axes[1])
    full = tfd.MultivariateNormalTriL(loc, np.linalg.cholesky([covariance] * 2))
    diagonal = tfd.MultivariateNormalDiag(loc, full.stddev())
    in_truth, by_scales = 10.0, 2**0.5 * 0.5**0.5 / 2.005**0.5
    for posterior, distance, stated in (
        (full, in_truth, 0.693),
        (diagonal, by_scales, 0.059),
    ):
        got = overlap_report(posterior, num_queries=20_000).mutual_information
        exact = information_of_two(distance)
        assert round(exact, 3) == stated
        assert abs(got.value - exact) <= 5 * got.standard_error + 1e-5
    coefficients = [2 * scipy.stats.norm.cdf(-d / 2) for d in (in_truth, by_scales)]
    assert coefficients == pytest.approx([5.733e-7, 0.7239], rel=1e-3)


def test_one_mutual_information_has_several_overlaps() -> None:
    # Half of each encoding is the other's too: the densities overlap by 1/2.
    loc = tf.constant([[[-99.0], [0.0]], [[99.0], [0.0]]], tf.float64)
    weights = tfd.Categorical(logits=tf.zeros([2, 2], tf.float64))
    half_shared = tfd.MixtureSameFamily(
        weights, tfd.MultivariateNormalDiag(loc, tf.ones_like(loc))
    )
    got = overlap_report(half_shared, num_queries=20_000).mutual_information
    assert abs(got.value - np.log(2) / 2) <= 5 * got.standard_error
    # Of normals with the same I(x; z) the densities overlap by less.
    assert information_of_two(2.044) == pytest.approx(np.log(2) / 2, abs=2e-4)
    assert 2 * scipy.stats.norm.cdf(-2.044 / 2) == pytest.approx(0.307, abs=5e-4)


def test_active_units_are_judged_by_the_share_of_the_variance_of_the_means() -> None:
    signs = np.where(np.arange(N) % 2, 1.0, -1.0)[:, None]
    loc = 5.0 + signs * np.sqrt([0.5, 0.0102, 0.0100, 0.0])
    report = overlap_report(normal(loc, 1.0), num_queries=10)
    assert report.active == (0, 1)
    known = (0.5, 0.0102, 0.0100, 0.0)
    assert report.posterior_mean_variances == pytest.approx(known, rel=1e-3)


# -- encoding data ----------------------------------------------------------------


@pytest.mark.parametrize("family", ["normal", "laplace"])
def test_data_are_encoded_in_batches_to_one_posterior(family: str) -> None:
    vae, x = make_vae(encoder=MLPEncoder(2, (4,), family)), data(23)
    whole, z = vae.encode(x), tf.zeros([2])
    pairs = [(x[:9], 0), (x[9:], 1)]
    sets = [
        x,
        tf.constant(x),
        pairs,
        [x[:9], x[9:]],
        tf.data.Dataset.from_tensor_slices(x).batch(6),
    ]
    for given in sets:
        posterior = encode_data(vae, given, batch_size=10)
        assert posterior.batch_shape == [23]
        np.testing.assert_allclose(posterior.mean(), whole.mean(), atol=1e-6)
        np.testing.assert_allclose(posterior.log_prob(z), whole.log_prob(z), rtol=1e-4)
    assert overlap_report(encode_data(vae, x)).n == 23


class Rounds(keras.utils.PyDataset):
    """Three batches of 5, and the same again at any index beyond."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self._x = x

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> np.ndarray:
        return self._x[5 * (index % 3) : 5 * (index % 3) + 5]


def test_a_keras_data_set_ends_where_its_length_says() -> None:
    vae, x = make_vae(), data(15)
    posterior = encode_data(vae, Rounds(x), batch_size=4)
    np.testing.assert_allclose(posterior.mean(), vae.encode(x).mean(), rtol=1e-6)


class SharedScale:
    """An encoder whose scale lacks the batch axis."""

    def encode(self, x: Any) -> Any:
        return tfd.MultivariateNormalDiag(x, tf.ones([3]))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="no datum"):
        encode_data(make_vae(), [])
    with pytest.raises(InputError, match="broadcast them in the encoder"):
        encode_data(SharedScale(), data(8), batch_size=5)
    good = normal(line(1.0), 1.0)
    for bad in (good[0], tfd.Normal(0.0, 1.0), tf.zeros([5, 2])):
        with pytest.raises(InputError, match=r"batch shape \[n\]"):
            overlap_report(bad)
    with pytest.raises(InputError, match="between encodings; received 1"):
        overlap_report(good[:1])
    with pytest.raises(InputError, match="must be a whole number >= 2"):
        overlap_report(good, num_queries=1)


def test_a_scale_shared_by_all_data_is_understood() -> None:
    loc = tf.constant(line(1.0), tf.float32)
    shared = overlap_report(tfd.MultivariateNormalDiag(loc, tf.ones([2])))
    assert shared.overlap.value == overlap_report(normal(loc, 1.0)).overlap.value
