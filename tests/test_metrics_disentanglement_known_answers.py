# SPDX-License-Identifier: Apache-2.0
"""What each disentanglement metric, and the map to normal scores, is known to give."""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from tf_decomp import metrics

# Two balanced, independent factors of ten values each.
FACTORS = np.stack(np.unravel_index(np.arange(1_000) % 100, (10, 10)), axis=1)
PERFECT = (FACTORS - 4.5) / FACTORS.std(axis=0)
NOISE = np.random.default_rng(0).normal(size=(1_000, 4))


@pytest.mark.parametrize("train_votes", [100, 800, 4_000])
def test_votes_scored_on_themselves_flatter(train_votes: int) -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(20_000, 10))
    factors = rng.integers(0, 4, size=(20_000, 5))
    score = metrics.factor_vae_score(
        codes,
        factors,
        train_votes=train_votes,
        evaluation_votes=2_000,
        samples_per_vote=20,
    )
    # Random votes: each dimension's best share among train_votes / 10 of five names.
    tables = rng.multinomial(train_votes, np.full(50, 0.02), size=1_000)
    shares = tables.reshape(-1, 10, 5).max(axis=2).sum(axis=1) / train_votes
    assert abs(score.in_sample_value - shares.mean()) <= 5.0 * shares.std()
    assert abs(score.value - 0.2) <= 5.0 * score.standard_error
    assert score.in_sample_value > score.value


@pytest.mark.parametrize(
    "metric", [metrics.mutual_information_gap, metrics.sap_score], ids=["gap", "sap"]
)
def test_standard_error_is_the_spread_over_data_sets(
    metric: Callable[..., metrics.Estimate],
) -> None:
    rng = np.random.default_rng(7)
    scores = []
    for _ in range(100):
        factors = rng.integers(0, 5, size=(400, 2))
        mixed = factors @ [[1.0, 0.4], [-0.4, 1.0]] + rng.normal(size=(400, 2))
        scores.append(metric(mixed, factors, seed=int(rng.integers(1_000))))
    spread = np.std([score.value for score in scores], ddof=1)
    # The root of a chi-squared with 99 degrees of freedom has this relative error.
    relative_error = 1.0 / np.sqrt(2 * 99)
    stated = np.sqrt(np.mean([score.standard_error**2 for score in scores]))
    assert abs(np.log(stated / spread)) <= 5.0 * relative_error


def test_mutual_information_of_known_tables() -> None:
    rng = np.random.default_rng(0)
    classes, factors = rng.integers(0, [4, 7], (500, 2)), rng.integers(0, 3, (500, 1))
    expected = [mutual_info_score(column, factors[:, 0]) for column in classes.T]
    information = metrics.mutual_information(classes, factors)
    assert information[:, 0] == pytest.approx(expected, rel=1e-9)
    many = np.arange(1_600) % 40
    assert metrics.mutual_information(many[:, None], many[:, None])[
        0, 0
    ] == pytest.approx(np.log(40))


def test_gap_of_a_perfect_code_with_many_values_is_one() -> None:
    factors = np.stack(np.unravel_index(np.arange(1_280), (40, 32)), axis=1)
    score = metrics.mutual_information_gap(factors.astype(float), factors)
    assert score.value == pytest.approx(1.0, abs=1e-9)


def test_explicitness_is_exact_for_two_values_and_held_out_for_noise() -> None:
    halves = (FACTORS >= 5).astype(int)
    perfect = metrics.modularity_explicitness(halves.astype(float), halves)
    assert perfect.explicitness.value == 1.0
    noise = np.random.default_rng(2).normal(size=(1_000, 30))
    explicitness = metrics.modularity_explicitness(noise, FACTORS).explicitness
    assert abs(explicitness.value - 0.5) <= 5.0 * explicitness.standard_error


def test_categorical_factors_by_balanced_accuracy() -> None:
    second = metrics.sap_score(PERFECT, FACTORS, categorical=[1])
    assert abs(second.value - 0.95) <= 5.0 * second.standard_error
    # One dimension is compared with a guess: 1 - 1/10 for its factor, 0 for the other.
    single = metrics.sap_score(PERFECT[:, :1], FACTORS, categorical=[0, 1])
    assert abs(single.value - 0.45) <= 5.0 * single.standard_error


def test_two_normal_classes_have_known_area_and_accuracy() -> None:
    rng = np.random.default_rng(1)
    factors = rng.integers(0, 2, size=(20_000, 2))
    distance = 2.0
    codes = distance * factors + rng.normal(size=(20_000, 2))
    explicitness = metrics.modularity_explicitness(codes, factors).explicitness
    area = stats.norm.cdf(distance / np.sqrt(2.0))
    assert abs(explicitness.value - area) <= 5.0 * explicitness.standard_error
    gap = metrics.sap_score(codes, factors, categorical=[0, 1])
    accuracy = stats.norm.cdf(distance / 2.0)
    assert abs(gap.value - (accuracy - 0.5)) <= 5.0 * gap.standard_error
    square = metrics.sap_score(codes, factors)
    r2 = 0.25 * distance**2 / (0.25 * distance**2 + 1.0)
    assert abs(square.value - r2) <= 5.0 * square.standard_error


def test_forests_ignore_noise_and_see_what_is_shared() -> None:
    noisy = metrics.dci_disentanglement(np.hstack([PERFECT, NOISE]), FACTORS)
    assert noisy.value == pytest.approx(1.0, abs=1e-6)
    assert noisy.completeness.value == pytest.approx(1.0, abs=1e-3)
    doubled = metrics.dci_disentanglement(np.hstack([PERFECT, PERFECT]), FACTORS)
    assert doubled.value == pytest.approx(1.0, abs=1e-6)
    noise = metrics.dci_disentanglement(NOISE, FACTORS).informativeness
    assert noise.value <= 0.0 < noise.standard_error  # in sample it would be 0.8
    # Two of four equal dimensions share each factor: at most 1 - log 2 / log 4 is lost.
    assert 0.5 <= doubled.completeness.value < 0.9
    assert doubled.informativeness.value == pytest.approx(1.0, abs=1e-6)
    classes = metrics.dci_disentanglement(PERFECT, FACTORS, categorical=[0, 1])
    assert classes.value == pytest.approx(1.0, abs=1e-6)
    assert classes.informativeness.value == 1.0


def test_a_dimension_for_every_factor_is_not_disentangled() -> None:
    both = PERFECT.sum(axis=1, keepdims=True) * [1.0, 2.0]
    zero = pytest.approx(0.0, abs=1e-9)
    assert metrics.modularity_explicitness(both, FACTORS).value == zero
    assert metrics.mutual_information_gap(both, FACTORS).value == zero
    assert metrics.sap_score(both, FACTORS).value == zero
    forest = metrics.dci_disentanglement(both, FACTORS)
    assert abs(forest.value - forest.chance) <= 5.0 * forest.chance_standard_error


def test_the_drop_rule() -> None:
    stills = np.random.default_rng(0).normal(size=(500, 4))
    codes = stills / stills.std(axis=0) * [1.0, 1e-3, 1e-9, 0.0] + 3.0
    assert metrics.active_dimensions(codes).tolist() == [True, True, True, False]
    # Var(mean) / (Var(mean) + E[variance]) of 0.0101 and 0.0099, in any unit.
    shares = np.array([0.0101, 0.0099, 0.0101, 0.0099])
    units = np.array([1.0, 1.0, 1e8, 1e-8])
    codes = stills / stills.std(axis=0) * units
    noise = units * np.sqrt(1.0 / shares - 1.0)
    expected = [True, False, True, False]
    assert metrics.active_dimensions(codes, scale=noise).tolist() == expected
    # Means over data of the variances, not of the scales: sqrt(E[s^2]) is `noise`.
    scales = noise * np.array([[0.0], [np.sqrt(2.0)]] * 250)
    active = metrics.active_dimensions(codes, posterior_scales=scales)
    assert active.tolist() == expected
    rounding = np.full((500, 1), 0.1, np.float32)
    rounding[::2] = np.nextafter(rounding[0], np.float32(1.0))
    assert metrics.active_dimensions(rounding).tolist() == [False]


def test_student_t_map_known_answers() -> None:
    codes = np.array([[1.0, 2.0, 3.0, 4.0, 6.0]])
    expected = [0.947, 1.771, 2.433, 2.957, 3.716]
    prior = stats.t(df=9)
    assert metrics.normal_scores(codes, prior.cdf)[0] == pytest.approx(
        expected, abs=5e-4
    )
    assert metrics.normal_scores(-codes, prior.cdf)[0] == pytest.approx(
        np.negative(expected), abs=5e-4
    )


@pytest.mark.parametrize("df", [1.0, 3.0, 9.0, 100.0])
def test_student_t_map_keeps_both_tails(df: float) -> None:
    codes = np.array([[-1e4], [-100.0], [-25.0], [0.0], [25.0], [100.0], [1e4]])
    prior = stats.t(df=df)
    mapped = metrics.normal_scores(codes, prior.cdf)
    assert np.isfinite(mapped).all()
    assert (np.diff(mapped[:, 0]) > 0.0).all()
    assert mapped == pytest.approx(-mapped[::-1], abs=1e-9)
    # Back through the normal's tail: the probability is the prior's.
    kept = codes[1:3]
    assert stats.norm.cdf(mapped[1:3]) == pytest.approx(prior.cdf(kept), rel=1e-9)


def test_normal_map_is_the_identity_and_takes_a_survival_function() -> None:
    codes = np.linspace(-8.0, 36.0, 45)[:, None]
    prior = stats.norm(2.0, 1.0)
    mapped = metrics.normal_scores(codes + 2.0, prior.cdf, prior.sf)
    assert mapped == pytest.approx(codes, abs=1e-9)
    assert np.isfinite(metrics.normal_scores([[-1e6, 1e6]], stats.norm.cdf)).all()


@pytest.mark.slow
def test_factor_vae_score_at_full_size() -> None:
    sizes = (1, 3, 6, 40, 32, 32)
    factors = np.stack(np.unravel_index(np.arange(737_280), sizes), axis=1)
    codes = np.random.default_rng(0).normal(size=(737_280, 10)).astype(np.float32)
    started = time.process_time()
    score = metrics.factor_vae_score(codes, factors)
    assert time.process_time() - started < 2 * 4.0  # two cores, 4 s
    assert abs(score.value - 0.2) <= 5.0 * score.standard_error
    tracemalloc.start()
    metrics.factor_vae_score(codes, factors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5e9
