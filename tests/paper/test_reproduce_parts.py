# SPDX-License-Identifier: Apache-2.0
"""What the figures are computed by: classes, estimators, theorems."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from paper import estimators
from paper.estimators import (
    aggregate_kl,
    estimator_rows,
    log_aggregates,
)
from paper.measures import (
    _move,
    _off_mode_mass,
    class_share,
    region_of_change,
    swap_share,
)
from paper.table import Row, choose
from paper.theorems import log_integral, toy_data
from tf_decomp.priors import NormalMixturePrior, NormalPrior, StudentTPrior

# -- Figure 5 -----------------------------------------------------------------------


def test_share_of_the_variance_between_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 5, 8], 2000)
    # Class means 0, 1, 2 in one dimension have the variance 2/3; the noise has 1 in it
    # and 1 in another dimension.
    magnitudes = rng.normal(size=(6000, 2))
    magnitudes[:, 0] += np.repeat([0.0, 1.0, 2.0], 2000)
    share, p_value = class_share(magnitudes, labels)
    assert share == pytest.approx((2 / 3) / (2 / 3 + 2), abs=0.02)
    assert p_value == 1 / 1000


def test_labels_that_say_nothing_have_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    values = [
        class_share(rng.exponential(size=(60, 3)), rng.integers(4, size=60), seed)[1]
        for seed in range(60)
    ]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.001


def test_region_of_change() -> None:
    image = np.zeros((32, 32))
    image[3:7, 3:7] = 1.0
    assert region_of_change(image) == (1.0, 16 / 1024)
    image[20:24, 20:24] = 1.0  # two regions apart
    assert region_of_change(image) == (0.5, 16 / 1024)
    image[7:20, 7:20] += np.eye(13)  # joined by their corners
    share, area = region_of_change(image)
    assert share == 1.0
    assert area == (16 + 16 + 13) / 1024
    # A change everywhere is no region: at most a quarter of the pixels may be one.
    share, area = region_of_change(np.fromfunction(lambda i, _: 100 + i, (32, 32)))
    assert share < 0.3
    assert area <= 0.25
    assert region_of_change(np.zeros((32, 32))) == (0.0, 0.0)


def test_swaps_within_a_class() -> None:
    images = np.zeros((5, 32, 32))
    images[1, 3:7, 3:7] = 1.0  # of class 0: one region appears and goes
    images[3, 3:7, 3:7] = images[3, 20:24, 20:24] = 1.0  # of class 1: two regions
    labels = np.array([0, 0, 1, 1, 2])  # nothing to swap the last for
    assert swap_share(images, labels) == pytest.approx((1.0 + 1.0 + 0.5 + 0.5) / 4)
    assert np.isnan(swap_share(images[:1], labels[:1]))


class Decoder:
    """Decodes codes to images that are their outer products."""

    data_shape = (2, 2, 1)

    def decode(self, z: np.ndarray) -> Any:
        images = np.einsum("ni,nj->nij", z[:, :2], z[:, :2])[..., None]
        return tfd.Deterministic(tf.constant(images))


def test_the_largest_active_dimension_is_moved() -> None:
    codes = np.array([[0.5, -2.0, 9.0], [3.0, 1.0, -9.0]])
    run: Any = SimpleNamespace(vae=Decoder(), posterior=tfd.Deterministic(codes))
    active = np.array([True, True, False])
    dimensions, frames = _move(run, np.array([0, 1]), 2, active)
    assert dimensions.tolist() == [1, 0]
    # From z_d to z_d + sign(z_d), away from 0.
    assert frames[0, :, 1, 1] == pytest.approx([4.0, 9.0])
    assert frames[1, :, 0, 0] == pytest.approx([9.0, 16.0])
    dimensions, _ = _move(run, np.array([0, 1]), 2, ~active & False)
    assert dimensions.tolist() == [2, 2]  # none is active: the largest of all


# -- Figure 3 -----------------------------------------------------------------------


def encoded(locs: Any, scale: float) -> Any:
    """A pretend run whose data are encoded at some places."""
    locs = np.asarray(locs, np.float32)
    posterior = tfd.MultivariateNormalDiag(locs, np.full_like(locs, scale))
    prior = NormalMixturePrior([[0, 1], [0, -1], [1, 0], [-1, 0]], 0.03)
    return SimpleNamespace(vae=SimpleNamespace(prior=prior), posterior=posterior)


def test_off_mode_mass() -> None:
    modes = np.tile([[0, 1], [0, -1], [1, 0], [-1, 0]], (100, 1))
    matched = _off_mode_mass(encoded(modes, 0.03**0.5))
    assert abs(matched - 0.01) < 5 * np.sqrt(0.01 * 0.99 / (400 * 50))
    # Neither little overlap nor a lost mode is outside; a blob between modes is.
    assert _off_mode_mass(encoded(modes, 1e-3)) == 0.0
    assert _off_mode_mass(encoded(modes[:1], 1e-3)) == 0.0
    assert _off_mode_mass(encoded(np.zeros((400, 2)), 1e-3)) == 1.0


# -- estimators ---------------------------------------------------------------------


def test_stratified_sampling_has_an_unbiased_density() -> None:
    logs = np.random.default_rng(0).normal(size=(6, 6))  # log q(z_i|x_j), 6 data
    truth = np.exp(logs).mean(axis=1)
    for name in ("stratified_sampling", "weighted_sampling"):
        densities = []
        for others in itertools.combinations(range(1, 6), 2):
            batch = [0, *others]
            log_q = log_aggregates(logs[np.ix_(batch, batch)], 6)[name]
            densities.append(np.exp(log_q[0]))
        unbiased = np.mean(densities) == pytest.approx(truth[0], rel=1e-12)
        assert unbiased == (name == "stratified_sampling")


def test_of_all_data_the_naive_mixture_is_the_truth() -> None:
    logs = np.random.default_rng(0).normal(size=(6, 6))
    estimates = log_aggregates(logs, 6)
    truth = np.log(np.exp(logs).mean(axis=1))
    np.testing.assert_allclose(estimates["naive_mixture"], truth)
    np.testing.assert_allclose(estimates["stratified_sampling"], truth)
    np.testing.assert_allclose(estimates["weighted_sampling"], truth - np.log(6))


@pytest.fixture(scope="module")
def estimates() -> list[Row]:
    return estimator_rows("smoke", seed=0)


def test_truths_of_the_estimators() -> None:
    # In 2 dimensions 1,000 data fill the aggregate, whose KLs are known.
    rows = estimators._case_rows(estimators._SIZES["smoke"], latent_dim=2, seed=0)
    low = {row["estimator"]: row for row in rows}
    expected = {"naive_mixture": aggregate_kl(2)}
    expected["inclusive_kl"] = 1 / 1.5 - 1 + np.log(1.5)
    for name, truth in expected.items():
        error = low[name]["truth_standard_error"]
        assert abs(low[name]["truth"] - truth) < 5 * error + 0.03
        assert error < 0.1


def test_truths_are_of_samples_of_the_aggregate() -> None:
    rng = np.random.default_rng(0)
    # Of variance 1.5 - 0.225, so that 20,000 encodings fill the aggregate.
    means = rng.normal(size=(20_000, 2), scale=1.275**0.5).astype(np.float32)
    size = estimators._Size((2,), len(means), (64,), (4, 4), truth_samples=4000)
    truths = estimators._truths(means, size, rng)
    for name, expected in (
        ("naive_mixture", aggregate_kl(2)),
        ("inclusive_kl", 1 / 1.5 - 1 + np.log(1.5)),
    ):
        value, error = truths[name]
        assert abs(value - expected) < 4 * error, name
        assert error < 0.012, name


def test_biases_of_the_estimators(estimates: list[Row]) -> None:
    high = choose(estimates, "bias", latent_dim=10, batch_size=64)
    bias = {row["estimator"]: row["bias"] for row in high}
    error = {row["estimator"]: row["bias_standard_error"] for row in high}
    # Among 64 data in 10 dimensions a code is nearest its own: log q(z) is too large
    # by up to log(1000/64); weighted sampling then takes log(1000) away.
    assert 0.5 < bias["naive_mixture"] < np.log(1000 / 64) + 0.1
    expected = bias["naive_mixture"] - np.log(1000)
    assert bias["weighted_sampling"] == pytest.approx(expected, abs=1e-9)
    assert bias["inclusive_kl"] > 0.5
    assert abs(bias["dimensionwise_mmd"]) < 6 * error["dimensionwise_mmd"]
    assert {row["scale"] for row in estimates} == {"smoke"}


def test_truths_of_related_divergences() -> None:
    """Of 20,000 encodings that fill the aggregate, N(0, 1.5 I), beside N(0, I)."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(20_000, 2), scale=1.275**0.5).astype(np.float32)
    size = estimators._Size((2,), len(means), (64,), (4, 4), truth_samples=4000)
    truths = estimators._related_truths(means, size, rng)
    assert truths.keys() == set(estimators.RELATED)
    # Kernels C / (C + |z - y|^2), by the integral over normals of each width.
    squares = 2 * np.random.default_rng(1).standard_gamma(1, 400_000)  # of |N(0, I)|
    constants = 4 * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])
    of_q, of_p, of_both = (
        np.mean(sum(c / (c + width * squares) for c in constants))
        for width in (3.0, 2.0, 2.5)
    )
    expected = {
        "joint_mmd": of_q + of_p - 2 * of_both,
        "sliced_wasserstein": (1.5**0.5 - 1) ** 2,
        "dip_vae_i": 10 * 2 * 0.275**2,
        "dip_vae_ii": 2 * 0.5**2,
        "total_correlation_weighted": 0.0,
        "total_correlation_stratified": 0.0,
    }
    for name, truth in expected.items():
        value, error = truths[name]
        # Variances of 20,000 data have an error of 1 %.
        spread = 0.1 * truth if name.startswith("dip_vae") else 2e-3
        assert abs(value - truth) < 4 * error + spread, name
        assert error < 0.03, name


def test_biases_of_related_divergences(estimates: list[Row]) -> None:
    high = choose(estimates, "bias", latent_dim=10, batch_size=64)
    bias = {row["estimator"]: row["bias"] for row in high}
    error = {row["estimator"]: row["bias_standard_error"] for row in high}
    assert abs(bias["joint_mmd"]) < 6 * error["joint_mmd"]
    for name in ("sliced_wasserstein", "dip_vae_ii"):
        assert bias[name] > 3 * error[name], name
    # The same mixture: 9 log N above (docs/howto/divergence.md).
    (row,) = choose(high, "truth", estimator="total_correlation_weighted")
    assert row["truth"] + row["bias"] > 9 * np.log(1000)


def test_adversaries_and_the_support() -> None:
    """In 2 dimensions the KL is known, both others are 0."""
    size = estimators._Size((2,), 20_000, (512,), (20, 20), truth_samples=4000)
    rows = {row["estimator"]: row for row in estimators._learnt_rows(size, 2, seed=0)}
    assert tuple(rows) == estimators.LEARNT
    kl, correlation, support = rows.values()
    error = kl["truth_standard_error"]
    assert abs(kl["truth"] - aggregate_kl(2)) < 4 * error
    assert error < 0.012
    # What it has not learnt yet; one that knew nothing would be 0.0955 too low.
    assert abs(kl["bias"]) < 0.03 + 4 * kl["bias_standard_error"]
    assert kl["bias_standard_error"] < 0.02
    assert abs(correlation["truth"]) < 4 * correlation["truth_standard_error"] + 1e-3
    assert abs(correlation["bias"]) < 0.03
    assert support["truth"] == 0
    assert support["bias"] > 1  # of a pair, at any batch size
    # Its cost is the cube: large batches are left out, not the adversaries.
    assert 512**3 < estimators._TRIPLES < 45 * 512**3


# -- theorems -----------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_integral_of_its_own(beta: float) -> None:
    normal = NormalPrior(2, variances=[1.7, 0.3], dtype="float64").distribution
    expected = (1 - beta) * (np.log(2 * np.pi) + np.log(1.7 * 0.3) / 2) - np.log(beta)
    assert log_integral(normal, beta) == pytest.approx(expected, abs=1e-10)
    heavy = StudentTPrior(2, df=3.0, dtype="float64").distribution
    new = beta * 4 - 1
    log_peaks = scipy.stats.t.logpdf(0, 3.0), scipy.stats.t.logpdf(0, new)
    expected = 2 * (beta * log_peaks[0] - log_peaks[1] + np.log(3.0 / new) / 2)
    assert log_integral(heavy, beta) == pytest.approx(expected, abs=1e-10)


def test_rotations_are_of_new_data() -> None:
    assert not np.any(np.isin(toy_data(600, 0), toy_data(600, 1_000_000)))
