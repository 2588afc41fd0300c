# SPDX-License-Identifier: Apache-2.0
"""What decides whether q(z) matches the prior: levels, power, what n can tell."""

from typing import Any

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from monte_carlo import mean_and_error

from tf_decomp.metrics.encodings import (
    aggregate_sources,
    posterior_seed,
    sample_aggregate,
)
from tf_decomp.metrics.regularisation import (
    RegularisationReport,
    _null,
    _total_correlation,
    gaussian_total_correlation,
    prior_total_correlation,
    regularisation_report,
)
from tf_decomp.metrics.two_samples import (
    _directions,
    _statistics,
    kernels,
    marginal_distances,
    permutation_p_value,
    standard_error,
)
from tf_decomp.priors import (
    NormalMixturePrior,
    NormalPrior,
    SpikeAndSlabPrior,
    StudentTPrior,
)
from tf_decomp.sampling import stateless_seed

tfd = tfp.distributions
R = 0.675
ANGLES = 2 * np.pi * np.arange(5) / 5
PINWHEEL = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def normal(loc: Any, scale: Any) -> Any:
    loc = tf.constant(loc, tf.float32)
    return tfd.MultivariateNormalDiag(loc, tf.ones_like(loc) * scale)


def encodings(
    n: int, latent_dim: int, seed: int = 0, pairs: int = 0, scale: float = 0.5
) -> Any:
    """Of data whose q(z) is normal, N(0, 1) marginals, some pairs with r = .675."""
    rng = np.random.default_rng(seed)
    covariance = np.eye(latent_dim)
    for first in range(0, 2 * pairs, 2):
        covariance[first, first + 1] = covariance[first + 1, first] = R
    covariance -= scale**2 * np.eye(latent_dim)
    loc = rng.normal(size=(n, latent_dim)) @ np.linalg.cholesky(covariance).T
    return normal(loc, scale)


STANDARD = {dims: NormalPrior(dims).distribution for dims in (1, 2)}


def failed(report: RegularisationReport) -> set[str]:
    return {part.name for part in report.parts if part.failed}


# -- tests keep their level, errors are the spread over data sets -----------------


def mmd_kernel(
    n: int, seed: int, shift: float = 0.0, latent_dim: int = 2
) -> tuple[np.ndarray, int]:
    """The joint kernel of a new data set, and the seed that a report would take."""
    posterior = encodings(n, latent_dim, seed)
    own_seed = posterior_seed(posterior)
    of_q = sample_aggregate(posterior, min(n, 1000), own_seed).numpy() + shift
    of_p = STANDARD[latent_dim].sample(1000, seed=stateless_seed(own_seed, 2)).numpy()
    return kernels(of_q, of_p, n)[1], own_seed


@pytest.mark.parametrize("n", [400, 10_000])
@pytest.mark.slow
def test_p_values_of_an_exact_match_are_uniform(n: int) -> None:
    # With many z of a datum and one sample of the prior for all, 43% and 13% would be
    # below 0.05, and the variance 2.7 and 1.4 times as large: it tells sooner.
    count, ranks = 200, np.arange(1, 41) / 40
    p_values = np.array(
        [
            permutation_p_value(*mmd_kernel(n, seed, latent_dim=1), permutations=39)
            for seed in range(count)
        ]
    )
    error = ranks.std() / np.sqrt(count)
    assert abs(p_values.mean() - ranks.mean()) < 5 * error
    squares = (ranks - ranks.mean()) ** 2
    spread = np.mean((p_values - ranks.mean()) ** 2)
    assert abs(spread - squares.mean()) < 5 * squares.std() / np.sqrt(count)
    share = np.mean(p_values <= 0.05)
    assert abs(share - 0.05) < 5 * np.sqrt(0.05 * 0.95 / count)


@pytest.mark.parametrize(("n", "shift"), [(100, 0.0), (400, 0.0), (100, 0.5)])
@pytest.mark.slow
def test_the_error_of_the_mmd_is_its_spread_over_data_sets(
    n: int, shift: float
) -> None:
    draws = [mmd_kernel(n, seed, shift)[0] for seed in range(120)]
    spread = np.std([_statistics(kernel)[0] for kernel in draws], ddof=1)
    stated = np.sqrt(np.mean([standard_error(kernel) ** 2 for kernel in draws]))
    noise = 5 / np.sqrt(2 * len(draws))
    # At q = p it may be a fifth too large; it never is too small.
    most = 1.25 if shift == 0.0 else 1.0
    assert 1 - noise < stated / spread < most + noise


def test_the_error_of_marginal_distances_is_their_spread_over_data_sets() -> None:
    # Encodings without noise, 25 codes each: not 10,000 independent numbers.
    rng = np.random.default_rng(0)
    sources = np.tile(np.arange(400), 25)
    numbers = np.array(
        [
            marginal_distances(rng.normal(0.7, 1, 400)[sources], y, sources)
            for y in rng.normal(size=(60, 20_000))
        ]
    )
    spread = numbers[..., 0].std(axis=0, ddof=1)
    stated = np.sqrt((numbers[..., 1] ** 2).mean(axis=0))
    assert np.all(np.abs(stated / spread - 1) < 5 / np.sqrt(120))


def test_the_level_of_the_gaussian_total_correlation() -> None:
    rng = np.random.default_rng(0)
    for n, latent_dim in ((100, 10), (400, 50)):
        level, spread = _null(n, latent_dim)
        shape = (100, n, latent_dim)
        draws = [_total_correlation(rows)[0] for rows in rng.normal(size=shape)]
        # Ranks for numbers, and the shrinkage by 1 - 1/n: 1%.
        mean, error = mean_and_error(draws)
        assert abs(mean - level) < 5 * error + 0.01 * level
        assert abs(np.std(draws, ddof=1) / spread - 1) < 5 / np.sqrt(200) + 0.05


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_the_gaussian_total_correlation_of_normals(pairs: int) -> None:
    known = -0.5 * pairs * np.log(1 - R**2)
    of_p = np.random.default_rng(1).normal(size=(20_000, 4))
    found = []
    for seed in range(60):
        of_q = encodings(400, 4, seed, pairs).sample(seed=stateless_seed(seed)).numpy()
        test = gaussian_total_correlation(np.exp(3 * of_q), of_p, 400)
        assert test is not None
        assert abs(test.prior) < 0.005
        assert test.limit == 0.1
        found.append(test[:2])
    values, errors = np.array(found).T
    # The bias of ranks for numbers is below 3%.
    assert abs(values.mean() - known) < 5 * values.std() / np.sqrt(60) + 0.03 * known
    ratio = np.sqrt(np.mean(errors**2)) / values.std(ddof=1)
    assert abs(ratio - 1) < 5 / np.sqrt(120)


def test_rows_begin_with_every_datum_once() -> None:
    posterior = normal(100.0 * np.arange(30)[:, None], 1e-3)
    sources = aggregate_sources(30, 75, seed=3)
    z = sample_aggregate(posterior, 75, seed=3).numpy()
    np.testing.assert_array_equal(np.rint(z[:, 0] / 100), sources)
    assert set(sources[:30]) == set(sources[30:60]) == set(range(30))


# -- verdicts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "latent_dim", "pairs"),
    [(n, *pairs) for n in (400, 10_000) for pairs in ((5, 1), (10, 3), (50, 25))],
)
@pytest.mark.slow
def test_dependence_of_pairs_is_a_mismatch(n: int, latent_dim: int, pairs: int) -> None:
    posterior = encodings(n, latent_dim, pairs=pairs)
    report = regularisation_report(posterior, NormalPrior(latent_dim), 2)
    assert report.verdict == "mismatched"
    assert "total correlation" in failed(report)
    assert "marginals" not in failed(report)
    total = report.gaussian_total_correlation
    assert total is not None
    known = -0.5 * pairs * np.log(1 - R**2)
    assert abs(total.value - known) < 5 * total.standard_error + 0.03 * known
    if latent_dim == 50:
        assert report.total_correlation is None  # 25 to 26 nats, whatever the truth


PRIORS = {
    "normal": NormalPrior(5),
    "normal of 50": NormalPrior(50),
    "student_t": StudentTPrior(5, 3.0),
    "mixture": NormalMixturePrior(PINWHEEL, 0.1),
    "spike_and_slab": SpikeAndSlabPrior(10),
}


@pytest.mark.parametrize("n", [400, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PRIORS)
def test_samples_of_the_prior_match_it(name: str, n: int) -> None:
    prior = PRIORS[name]
    points = prior.distribution.sample(n, seed=stateless_seed(5))
    report = regularisation_report(normal(points, 1e-3), prior, 2)
    assert report.verdict == "matched", report.parts
    assert report.total_correlation is None  # of a table it would measure n
    total = report.gaussian_total_correlation
    assert total is not None
    assert abs(total.value - total.prior) <= total.limit


def _of_magnitude(rng: np.random.Generator, n: int) -> np.ndarray:
    """Uncorrelated, normal marginals, the second a function of the first's size."""
    first = rng.normal(size=n)
    return np.stack([first, scipy.stats.norm.ppf(2 * _tail(first))], axis=1)


def _tail(z: np.ndarray) -> np.ndarray:
    return scipy.stats.norm.sf(np.abs(z))


def _sign_copies(rng: np.random.Generator, n: int) -> np.ndarray:
    first = rng.normal(size=n)
    return np.stack([first, first * rng.choice([-1, 1], n)], axis=1)


@pytest.mark.parametrize("latent_dim", [2, 10])
@pytest.mark.parametrize("copula", [_of_magnitude, _sign_copies])
@pytest.mark.slow
def test_dependence_without_correlation_is_a_mismatch(
    copula: Any, latent_dim: int
) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, latent_dim))
    z[:, -2:] = copula(rng, 1000)
    report = regularisation_report(normal(z, 1e-3), NormalPrior(latent_dim), 2)
    assert "projections" in failed(report)
    assert failed(report) <= {"projections", "joint MMD"}
    assert report.verdict == "mismatched"


@pytest.mark.slow
def test_dependence_of_three_without_that_of_pairs_is_a_mismatch() -> None:
    z = np.random.default_rng(0).normal(size=(10_000, 3))
    z[:, 2] = np.abs(z[:, 2]) * np.sign(z[:, 0] * z[:, 1])
    report = regularisation_report(normal(z, 1e-3), NormalPrior(3), 2)
    assert failed(report) == {"joint MMD"}


@pytest.mark.parametrize("n", [400, 10_000])
def test_a_lost_mode_is_a_mismatch(n: int) -> None:
    rng = np.random.default_rng(0)
    z = PINWHEEL[rng.integers(4, size=n)] + np.sqrt(0.1) * rng.normal(size=(n, 2))
    report = regularisation_report(normal(z, 1e-3), PRIORS["mixture"], 2)
    assert {"marginals", "joint MMD"} <= failed(report)


def test_another_family_matches() -> None:
    loc = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    posterior = tfd.Independent(tfd.Laplace(loc, 0.01 * tf.ones_like(loc)), 1)
    assert regularisation_report(posterior, NormalPrior(2), 2).verdict == "matched"


# -- the target of the total correlation ------------------------------------------


def test_total_correlation_of_priors() -> None:
    prior = NormalMixturePrior(PINWHEEL, 0.1, weights=np.arange(1, 6) / 15).distribution
    z = np.linspace(-5, 5, 401)
    grid = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1).astype(np.float32)
    p = np.exp(prior.log_prob(grid).numpy().astype(np.float64))
    first, second = p.sum(axis=1) * (z[1] - z[0]), p.sum(axis=0) * (z[1] - z[0])
    ratio = np.maximum(p, 1e-300) / np.maximum(np.outer(first, second), 1e-300)
    known = np.sum(p * np.log(ratio)) * (z[1] - z[0]) ** 2
    found = prior_total_correlation(prior, prior.sample(2000, seed=stateless_seed(0)))
    assert found is not None
    assert abs(found.value - known) < 5 * found.standard_error
    for independent in (NormalPrior(2), StudentTPrior(2, 3.0), SpikeAndSlabPrior(2)):
        p = independent.distribution
        assert prior_total_correlation(p, p.sample(5)) == (0.0, 0.0, 5)
    unknown = tfd.VonMisesFisher([1.0, 0.0], 1.0)
    assert prior_total_correlation(unknown, tf.ones([2, 2])) is None


@pytest.mark.slow
def test_the_total_correlation_of_a_match_is_the_priors() -> None:
    prior = NormalMixturePrior(PINWHEEL, 0.1)
    parts = tf.tile(tf.constant(PINWHEEL[None], tf.float32), [80, 1, 1])
    posterior = normal(tf.reshape(parts, [400, 2]), 0.1**0.5)
    report = regularisation_report(posterior, prior)
    found, known = report.total_correlation, report.prior_total_correlation
    assert found is not None
    assert known is not None
    assert known.value > 0.6
    error = np.hypot(found.standard_error, known.standard_error)
    assert abs(found.value - known.value) < 5 * error
    assert report.verdict == "matched"


# -- little data, and codes that break nothing ------------------------------------

FINITE = ("wasserstein", "kolmogorov_smirnov")


def assert_usable(report: RegularisationReport) -> None:
    numbers = [*report.dimensionwise_mmd, *report.joint_mmd]
    numbers += [x for name in FINITE for e in getattr(report, name) for x in e]
    numbers += [*report.projected_kolmogorov_smirnov]
    numbers += [*(report.gaussian_total_correlation or ())]
    assert np.all(np.isfinite([x for x in numbers if x is not None]))
    for kl in (report.kl, report.inclusive_kl, report.total_correlation or ()):
        assert not np.isnan(kl).any()


@pytest.mark.parametrize("n", [1, 9, 50, 399])
def test_few_data_have_no_p_value_and_no_match(n: int) -> None:
    report = regularisation_report(encodings(n, 2), NormalPrior(2), 20)
    assert_usable(report)
    assert report.joint_mmd.p_value is report.dimensionwise_mmd.p_value is None
    assert report.verdict == f"not resolvable with n = {n} data"
    assert report.joint_mmd.n == (n if n >= 10 else 1000)
    assert (report.gaussian_total_correlation is None) == (n < 10)


def test_few_data_far_from_the_prior_are_a_mismatch() -> None:
    far = regularisation_report(normal(np.full((50, 2), 3.0), 1.0), NormalPrior(2), 2)
    assert far.verdict == "mismatched"


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize(
    ("size", "scale"), [(0.0, 1e-30), (0.0, 1e-3), (1e30, 1.0), (1e-30, 1e-30)]
)
def test_constants_and_huge_codes(latent_dim: int, size: float, scale: float) -> None:
    loc = size * np.random.default_rng(0).normal(size=(400, latent_dim))
    report = regularisation_report(normal(loc, scale), NormalPrior(latent_dim), 20)
    assert_usable(report)
    assert report.verdict == "mismatched"


def test_copies_and_many_dimensions() -> None:
    rng = np.random.default_rng(0)
    z = np.repeat(rng.normal(size=(400, 1)), 3, axis=1)
    report = regularisation_report(normal(z, 1e-6), NormalPrior(3), 2)
    assert_usable(report)
    total = report.gaussian_total_correlation
    assert total is not None
    assert total.value == pytest.approx(np.log(400), abs=1)  # 1/2 log n each of two
    rows = np.zeros((800, 201))
    assert gaussian_total_correlation(rows, rows, 400) is None
    assert gaussian_total_correlation(rows[:, :2], rows[:, :2], 400) is not None


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 12, 50])
def test_directions(latent_dim: int) -> None:
    directions = _directions(latent_dim, 0)
    assert directions.shape == (300, latent_dim)
    np.testing.assert_allclose((directions**2).sum(axis=1), 1.0)
    pairs = {
        (*np.flatnonzero(row), np.sign(row).sum())
        for row in directions[:150]
        if latent_dim > 1
    }
    count = latent_dim * (latent_dim - 1)
    assert len(pairs) == (count if count <= 150 else 150)
