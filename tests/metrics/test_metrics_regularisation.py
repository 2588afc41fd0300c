# SPDX-License-Identifier: Apache-2.0
"""Match of q(z) to the prior where it is known, and verdicts on both factors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tf_decomp.divergences import dimensionwise_mmd
from tf_decomp.errors import InputError
from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.metrics.encodings import posterior_seed
from tf_decomp.metrics.overlap import overlap_report
from tf_decomp.metrics.regularisation import (
    RegularisationReport,
    regularisation_report,
)
from tf_decomp.priors import (
    FixedPrior,
    NormalMixturePrior,
    NormalPrior,
    SpikeAndSlabPrior,
    StudentTPrior,
)

tfd = tfp.distributions
N = 1000
BANDWIDTHS = (0.2, 0.4, 1, 2, 4, 10)


def normal(loc: Any, scale: Any) -> Any:
    loc = tf.constant(loc, tf.float32)
    return tfd.MultivariateNormalDiag(loc, tf.ones_like(loc) * scale)


def matching(latent_dim: int, scale: float) -> Any:
    """Encodings whose aggregate is N(0, I), but for the finite number of data."""
    rng = np.random.default_rng(0)
    loc = np.sqrt(1 - scale**2) * rng.normal(size=(N, latent_dim))
    return normal(loc, scale)


def assert_close(estimate: Any, expected: float, num_stderr: float = 5.0) -> None:
    value, error = estimate[:2]
    assert error > 0
    assert abs(value - expected) < num_stderr * error, (estimate, expected)


def estimates(report: RegularisationReport) -> list[Any]:
    several = (*report.wasserstein, *report.kolmogorov_smirnov)
    tests = (report.dimensionwise_mmd, report.joint_mmd)
    of_projections = report.projected_kolmogorov_smirnov
    return [report.kl, report.inclusive_kl, *tests, *several, of_projections]


def total_correlation(report: RegularisationReport) -> float:
    assert report.total_correlation is not None
    return report.total_correlation.value


# -- known answers ----------------------------------------------------------------

MODES = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))


def _same_student_t() -> Any:
    return tfd.Independent(tfd.StudentT(3.0, tf.zeros([N, 2]), tf.ones([N, 2])), 1)


def _same_mixture() -> Any:
    locs = tf.tile(tf.constant([MODES]), [N, 1, 1])
    parts = tfd.MultivariateNormalDiag(locs, tf.fill([N, 4, 2], 0.5))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros([N, 4])), parts)


def _same_spike_and_slab() -> Any:
    probs = tf.tile(tf.constant([0.2, 0.8])[None, None], [N, 2, 1])
    scales = tf.tile(tf.constant([1.0, 0.05**0.5])[None, None], [N, 2, 1])
    each = tfd.MixtureSameFamily(
        tfd.Categorical(probs=probs), tfd.Normal(tf.zeros_like(scales), scales)
    )
    return tfd.Independent(each, 1)


def _same_triangular() -> Any:
    return tfd.MultivariateNormalTriL(tf.zeros([N, 2]), tf.constant([TRIL] * N))


TRIL = [[1.0, 0.0], [0.5, 2.0]]
SAME = {
    "student_t": (StudentTPrior(2, 3.0), _same_student_t, 0.0),
    "normal_mixture": (NormalMixturePrior(MODES, 0.25), _same_mixture, None),
    "spike_and_slab": (SpikeAndSlabPrior(2), _same_spike_and_slab, 0.0),
    "fixed_normal_tril": (
        FixedPrior(tfd.MultivariateNormalTriL(tf.zeros(2), tf.constant(TRIL))),
        _same_triangular,
        -0.5 * np.log(1 - 0.25 / 4.25),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "fixed_normal_tril"))
        for name in SAME
    ],
)
def test_equal_distributions(name: str) -> None:
    prior, make, correlation = SAME[name]
    report = regularisation_report(make(), prior, num_samples=500)
    assert report.kl.value == pytest.approx(0.0, abs=1e-5)
    assert report.inclusive_kl.value == pytest.approx(0.0, abs=1e-5)
    if correlation is None:
        assert report.total_correlation is None
    elif correlation == 0.0:
        assert total_correlation(report) == pytest.approx(0.0, abs=1e-5)
    else:
        assert_close(report.total_correlation, correlation)
    for test in (report.dimensionwise_mmd, report.joint_mmd):
        assert_close(test, 0.0)
        assert test.p_value is not None
        assert test.p_value > 0.01
        assert abs(test.share) < 0.002
    # The 99.9% point of the two-sample Kolmogorov-Smirnov distance.
    critical = scipy.stats.kstwobign.isf(1e-3) * np.sqrt(1 / 10_000 + 1 / 50_000)
    assert max(distance.value for distance in report.kolmogorov_smirnov) < critical
    assert (report.verdict, report.n) == ("matched", N)


def kernel_mean(density: Callable[[float], float], dimension: int) -> float:
    """The mean of the joint kernel where |x - y|^2 / 2 has this density."""

    def integrand(half: float) -> float:
        kernels = sum(c / (c + 2 * half / dimension) for c in BANDWIDTHS)
        return density(half) * kernels

    return scipy.integrate.quad(integrand, 0, 60, points=[0.1, 1, 5])[0]


def test_one_shifted_normal() -> None:
    # Closed forms for every number but the bias of the marginal distances.
    d, shift, scale = 4, 1.0, 1.0
    report = regularisation_report(
        normal(np.full((N, d), shift), scale), NormalPrior(d)
    )
    assert_close(report.kl, d * shift**2 / 2)
    assert_close(report.inclusive_kl, d * shift**2 / 2)
    for wasserstein in report.wasserstein:
        assert_close(wasserstein, shift)
        known = np.sqrt(1 / 10_000 + 1 / 50_000)
        # Codes of one datum count as one: an error from 1,000 numbers.
        assert wasserstein.standard_error == pytest.approx(known, rel=0.12)
    for distance in report.kolmogorov_smirnov:
        share = scipy.stats.norm.cdf(shift / 2)  # of p(z), at the largest difference
        assert_close(distance, 2 * share - 1)
        error = known * np.sqrt(share * (1 - share))
        assert distance.standard_error == pytest.approx(error, rel=0.12)
    within = kernel_mean(scipy.stats.chi2(d).pdf, d)
    across = kernel_mean(scipy.stats.ncx2(d, d * shift**2 / 2).pdf, d)
    assert_close(report.joint_mmd, 2 * (within - across))
    assert report.joint_mmd.share == pytest.approx(1 - across / within, rel=0.1)
    within = kernel_mean(scipy.stats.chi2(1).pdf, 1)
    across = kernel_mean(scipy.stats.ncx2(1, shift**2 / 2).pdf, 1)
    assert_close(report.dimensionwise_mmd, d * 2 * (within - across))
    assert report.dimensionwise_mmd.p_value == report.joint_mmd.p_value == 0.002
    assert report.dimensionwise_mmd.n == report.joint_mmd.n == 1000
    assert total_correlation(report) == pytest.approx(0.0, abs=1e-5)
    assert report.verdict == "mismatched"


@pytest.mark.slow
def test_an_aggregate_on_a_line() -> None:
    locs, scales = np.array([-1.5, 0.0, 0.5, 2.0]), np.array([0.5, 1.0, 0.3, 0.4])
    locs, scales = np.repeat(locs, 100), np.repeat(scales, 100)
    z = np.linspace(-12, 12, 48_001)
    q = scipy.stats.norm(locs[:, None], scales[:, None]).pdf(z).mean(axis=0)
    p = scipy.stats.t(5.0).pdf(z)
    q = np.maximum(q, 1e-300)
    report = regularisation_report(
        normal(locs[:, None], scales[:, None]), StudentTPrior(1, 5.0)
    )
    assert_close(report.kl, np.trapezoid(q * np.log(q / p), z))
    difference = np.abs(np.cumsum(q - p)) * (z[1] - z[0])
    assert_close(report.wasserstein[0], np.trapezoid(difference, z))
    assert_close(report.kolmogorov_smirnov[0], difference.max())
    assert total_correlation(report) == pytest.approx(0.0, abs=1e-5)
    report = regularisation_report(
        normal(locs[:, None], scales[:, None]), NormalPrior(1)
    )
    p = scipy.stats.norm.pdf(z)
    assert_close(report.inclusive_kl, np.trapezoid(p * np.log(p / q), z))


def test_total_correlation() -> None:
    correlation = 0.8
    tril = [[[1.0, 0.0], [correlation, 0.6]]] * N
    posterior = tfd.MultivariateNormalTriL(tf.zeros([N, 2]), tf.constant(tril))
    report = regularisation_report(posterior, NormalPrior(2))
    assert_close(report.total_correlation, -0.5 * np.log(1 - correlation**2))
    # Of two far apart, either coordinate tells the other: log 2.
    ends = np.repeat([[-50.0, -50.0], [50.0, 50.0]], 50, axis=0)
    report = regularisation_report(normal(ends, 1.0), NormalPrior(2))
    assert total_correlation(report) == pytest.approx(np.log(2), rel=1e-5)


def test_a_matched_aggregate_of_many() -> None:
    # E_q[q/p] - 1 = E_p[(q/p)^2] - 1, twice the KL, has the mean ((4/3)^2 - 1) / n
    # over data sets: the second moment of N(z; loc, 3/4) over N(0, 1), two dimensions.
    report = regularisation_report(matching(2, 3**0.5 / 2), NormalPrior(2))
    excess = 7 / 9 / N / 2
    assert abs(report.kl.value) < 5 * report.kl.standard_error + 5 * excess
    assert report.kl.standard_error < 0.004
    assert report.joint_mmd.p_value > 0.01
    assert report.verdict == "matched"


# -- errors and p-values ----------------------------------------------------------


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_seeds() -> None:
    # Of a single datum the spread over seeds is all there is.
    posterior, prior = normal([[0.7, 0.0]], [1.3, 0.6]), NormalPrior(2)
    reports = [
        regularisation_report(posterior, prior, num_samples=200, seed=seed)
        for seed in range(10)
    ]
    numbers = np.array([[e[:2] for e in estimates(r)] for r in reports])
    deviations = numbers[..., 0].std(axis=0, ddof=1)
    ratios = deviations / np.sqrt((numbers[..., 1] ** 2).mean(axis=0))
    # Of one standard deviation from 10 numbers the relative error is 1 / sqrt(18).
    assert np.all(np.abs(ratios - 1) < 5 / np.sqrt(18)), ratios
    assert abs(np.mean(ratios**2) - 1) < 5 * np.sqrt(2 / 9 / 3), ratios


@pytest.mark.slow
def test_the_error_of_the_mmd_is_its_spread() -> None:
    report = regularisation_report(normal(np.ones((N, 1)), 1.0), NormalPrior(1), 2)
    z = np.random.default_rng(0).normal(size=(150, 2, 1000, 1)).astype(np.float32)
    draws = [dimensionwise_mmd(tf.constant(x + 1), tf.constant(y)) for x, y in z]
    spread = np.std(draws, ddof=1)
    for test in (report.dimensionwise_mmd, report.joint_mmd):
        assert abs(test.standard_error / spread - 1) < 5 / np.sqrt(300)


def test_the_mmd_is_that_of_the_objective() -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    # Point masses and a prior that is a table: the samples themselves are known.
    posterior = normal(rows[:1000], 1e-6)
    table = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(1)),
        tfd.MultivariateNormalDiag(tf.constant([[1.0, -1.0]]), tf.fill([1, 2], 1e-6)),
    )
    report = regularisation_report(posterior, table)
    expected = dimensionwise_mmd(
        tf.constant(rows[:1000]), tf.constant([[1.0, -1.0]] * 1000)
    )
    # All 1,000 data are among the rows only if none is repeated.
    assert report.dimensionwise_mmd.value == pytest.approx(float(expected), rel=0.05)


# -- robustness -------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior",
    [StudentTPrior(2, 0.5), StudentTPrior(2, 1.0), SpikeAndSlabPrior(2, 0.9, 1e-6)],
    ids=["df 0.5", "df 1", "narrow spike"],
)
def test_heavy_tails_and_spikes_give_no_nan(prior: Any) -> None:
    report = regularisation_report(matching(2, 1e-3), prior)
    for estimate in estimates(report):
        assert not np.isnan(estimate[:2]).any(), report
    assert report.inclusive_kl.value > 100
    assert report.verdict == "mismatched"


def test_a_prior_that_excludes_codes_has_an_infinite_kl() -> None:
    uniform = tfd.Independent(tfd.Uniform(-tf.ones(2), tf.ones(2)), 1)
    report = regularisation_report(matching(2, 0.5), uniform)
    assert report.kl == (np.inf, np.inf, 1000)
    assert np.isfinite(report.inclusive_kl).all()
    assert mean_estimate([1.0, 3.0]) == Estimate(2.0, 1.0, 2)


def test_the_scale_of_the_prior_does_not_matter_to_the_verdict() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(N, 1))
    loc = 0.01 * np.concatenate([first, first], axis=1)
    prior = NormalPrior(2, variances=[1e-4, 1e-4])
    # Right marginals, wrong dependence, all of it far below the bandwidths.
    report = regularisation_report(normal(loc, 1e-3), prior)
    assert max(d.value for d in report.kolmogorov_smirnov) < 0.1
    assert report.joint_mmd.p_value == 0.002
    assert report.verdict == "mismatched"


@pytest.mark.slow
def test_the_seed_is_that_of_the_encodings_unless_it_is_given() -> None:
    posterior, prior = matching(2, 0.5), NormalPrior(2)
    report = regularisation_report(posterior, prior, 2)
    assert regularisation_report(matching(2, 0.5), prior.distribution, 2) == report
    own = posterior_seed(posterior)
    assert posterior_seed(matching(2, 0.6)) != own
    assert regularisation_report(posterior, prior, 2, seed=own) == report
    assert regularisation_report(posterior, prior, 2, seed=own + 1).kl != report.kl


def test_other_dtypes() -> None:
    double = tfd.MultivariateNormalDiag(
        tf.zeros([5, 2], tf.float64), tf.ones(2, tf.float64)
    )
    report = regularisation_report(double, NormalPrior(2))
    assert report.kl.value == pytest.approx(0, abs=1e-6)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"event shape \(2,\).* received \(3,\)"):
        regularisation_report(matching(2, 0.5), NormalPrior(3))
    with pytest.raises(InputError, match="prior: expected"):
        regularisation_report(matching(2, 0.5), "normal")
    with pytest.raises(InputError, match=r"batch shape \[n\]"):
        regularisation_report(NormalPrior(2).distribution, NormalPrior(2))
    with pytest.raises(InputError, match="must be a whole number >= 2"):
        regularisation_report(matching(2, 0.5), NormalPrior(2), num_samples=1)


# -- verdicts on hand-made encoders -----------------------------------------------


def _correlated() -> Any:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(N, 1))
    second = 0.9 * first + np.sqrt(1 - 0.81) * rng.normal(size=(N, 1))
    return normal(0.9 * np.concatenate([first, second], axis=1), np.sqrt(0.19))


UNRESOLVED = "not resolvable with n = 1,000 data"
ENCODERS = {
    "a table of the prior": (matching(2, 1e-4), UNRESOLVED, "matched"),
    "matched": (matching(2, 0.4), "appropriate", "matched"),
    "all equal to the prior": (
        normal(np.zeros((N, 2)), 1.0),
        "over-smoothed",
        "matched",
    ),
    "all equal and narrow": (
        normal(np.zeros((N, 2)), 0.2),
        "over-smoothed",
        "mismatched",
    ),
    "too wide": (normal(3 * matching(2, 0.4).mean(), 1.0), "appropriate", "mismatched"),
    "correlated": (_correlated(), "appropriate", "mismatched"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_verdicts(name: str) -> None:
    posterior, overlap, regularisation = ENCODERS[name]
    assert overlap_report(posterior).verdict == overlap
    assert regularisation_report(posterior, NormalPrior(2)).verdict == regularisation


@pytest.mark.slow
def test_one_wrong_dimension_among_many_is_a_mismatch() -> None:
    loc = np.zeros((N, 40))
    loc[:, 7] = 0.5
    report = regularisation_report(normal(loc, 1.0), NormalPrior(40), 2)
    assert report.joint_mmd.share < 0.002
    assert np.argmax([d.value for d in report.kolmogorov_smirnov]) == 7
    assert report.verdict == "mismatched"
