# SPDX-License-Identifier: Apache-2.0
"""What each disentanglement metric, and the map to normal scores, is known to give."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from tf_decomp import metrics
from tf_decomp.metrics import information
from tf_decomp.metrics.scores import label_codes

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
    "metric",
    [
        metrics.mutual_information_gap,
        metrics.sap_score,
        metrics.interventional_robustness_score,
    ],
    ids=["gap", "sap", "irs"],
)
def test_standard_error_is_the_spread_over_data_sets(
    metric: Callable[..., metrics.Score],
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


def test_mutual_information_is_the_jackknife_of_known_tables() -> None:
    rng = np.random.default_rng(0)
    classes, factors = rng.integers(0, [4, 7], (60, 2)), rng.integers(0, 3, (60, 1))
    everything = np.arange(60)
    for column, ours in zip(
        classes.T, metrics.mutual_information(classes, factors), strict=True
    ):
        whole = mutual_info_score(column, factors[:, 0])
        without = [
            mutual_info_score(column[everything != i], factors[everything != i, 0])
            for i in range(60)
        ]
        expected = max(0.0, 60 * whole - 59 * np.mean(without))
        assert ours[0] == pytest.approx(expected, abs=1e-9)
    # The entropy of a uniform variable is larger than that of its sample.
    many = rng.integers(0, 40, (1_600, 1))
    nats = metrics.mutual_information(many, many)[0, 0]
    assert nats == pytest.approx(np.log(40), abs=3e-3)
    assert nats > mutual_info_score(many[:, 0], many[:, 0])


def test_mutual_information_of_independent_columns_is_none() -> None:
    rng = np.random.default_rng(0)
    classes, factors = rng.integers(0, 20, (1_000, 20)), rng.integers(0, 10, (1_000, 5))
    nats = metrics.mutual_information(classes, factors)
    plug_in = (20 - 1) * (10 - 1) / 2_000
    assert nats.mean() < 0.06 * plug_in
    assert (nats == 0.0).mean() >= 0.4


def mixed_codes(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ten values in 20 bins, which 300 rows do not fill."""
    factors = rng.integers(0, 10, size=(n, 2))
    signal = ((factors - 4.5) / 2.87) @ [[0.94, 0.34], [-0.34, 0.94]]
    noise = rng.normal(size=(n, 4)) * [0.2, 0.2, 1.0, 1.0]
    return np.hstack([signal, np.zeros((n, 2))]) + noise, factors


def noisy_codes(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Few values, much noise."""
    factors = rng.integers(0, 5, size=(n, 2))
    return factors @ [[1.0, 0.4], [-0.4, 1.0]] + rng.normal(size=(n, 2)), factors


def binned(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Values and errors [3, 2] of the gap, InfoM and InfoC: explicitness takes long."""
    statistics = [information._gap, information._info_m, information._info_c]
    labelled, rng = label_codes(codes, factors), np.random.default_rng(seed)
    scores = information.information_estimates(labelled, statistics, rng)
    return np.array([score[:2] for score in scores])


@pytest.mark.parametrize("draw", [mixed_codes, noisy_codes])
@pytest.mark.slow
def test_intervals_cover_the_information_of_the_binned_population(
    draw: Callable[..., Any],
) -> None:
    rng = np.random.default_rng(1)
    right = binned(*draw(200_000, rng))[:, 0]
    for n, repetitions in ((300, 150), (1_000, 100), (5_000, 60)):
        scores = np.array([binned(*draw(n, rng), i) for i in range(repetitions)])
        values, errors = np.moveaxis(scores, -1, 0)
        coverage = np.mean(np.abs(values - right) <= 1.96 * errors, axis=0)
        # Of 95%, 60 repetitions give 90 to 98%, and the jackknife errs upwards.
        assert (coverage >= 0.9).all(), (n, coverage)
        stated = np.sqrt(np.mean(errors**2, axis=0))
        assert (stated <= 2.0 * values.std(axis=0)).all(), n


def test_gap_of_factors_with_many_values() -> None:
    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        factors = rng.integers(0, 500, size=(n, 2))
        signal = (factors - 249.5) / 144.3
        mixed = signal @ [[1.0, 0.5], [-0.2, 1.0]]
        return mixed + 0.6 * rng.normal(size=(n, 2)), factors

    rng = np.random.default_rng(0)
    codes, factors = draw(1_000_000)
    # Twenty equal bins of each, by ranks; of so many rows the bias is 2e-4.
    bins, groups = (
        20 * np.argsort(np.argsort(a, axis=0), axis=0) // len(a)
        for a in (codes, factors)
    )
    gaps = [
        abs(np.subtract(*[mutual_info_score(b, group) for b in bins.T]))
        for group in groups.T
    ]
    score = metrics.mutual_information_gap(*draw(20_000))
    truth = np.mean(gaps) / np.log(20)
    assert abs(score.value - truth) <= 3.0 * score.standard_error
    assert score.standard_error < 0.005
    assert score.chance < 0.001


def test_a_rare_value_of_a_code_keeps_its_bin() -> None:
    # Twenty bins of equally many rows have no room for a value of 1 in 100 rows.
    factors = np.random.default_rng(0).integers(0, 3, size=(2_000, 2))
    factors[:20, 0] = 3
    score = metrics.mutual_information_gap(factors.astype(float), factors)
    assert score.value == pytest.approx(1.0, abs=1e-2)


AWKWARD_FACTORS: dict[str, tuple[int, Callable[[Any, int], Any]]] = {
    "one_row_of_a_value": (1_000, lambda rng, n: np.arange(n) == 7),
    "one_of_fifty": (50, lambda rng, n: np.arange(n) == 7),
    "binary": (50, lambda rng, n: rng.integers(0, 2, n)),
    "unique": (50, lambda rng, n: np.arange(n)),
    "many": (300, lambda rng, n: rng.integers(0, 90, n)),
}


@pytest.mark.parametrize("kind", ["noise", "factor", "ties", "constant", "one_odd"])
@pytest.mark.parametrize("name", AWKWARD_FACTORS)
def test_awkward_columns_give_numbers(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    n, draw = AWKWARD_FACTORS[name]
    factors = np.stack([draw(rng, n), rng.integers(0, 3, n)], axis=1).astype(int)
    noise = rng.normal(size=(n, 3))
    codes = {
        "noise": noise,
        "factor": factors.astype(float),
        "ties": np.maximum(noise, 0.0),
        "constant": np.ones((n, 3)),
        "one_odd": np.where(np.arange(n)[:, None] == 7, noise, 0.0),
    }[kind]
    gap = metrics.mutual_information_gap(codes, factors)
    mec = metrics.info_mec(codes, factors)
    shares = (gap, metrics.modularity_explicitness(codes, factors), mec)
    for estimate in (*shares, mec.compactness, mec.explicitness):
        assert np.isfinite([v for v in estimate if isinstance(v, float)]).all()
        assert 0.0 <= estimate.value <= 1.0 + 1e-9
        assert 0.0 <= estimate.chance <= 0.25


def mec(codes: np.ndarray, factors: np.ndarray = FACTORS) -> np.ndarray:
    score = metrics.info_mec(codes, factors)
    return np.array([score.value, score.compactness.value, score.explicitness.value])


def test_mec_of_perfect_and_rotated_codes() -> None:
    assert mec(PERFECT) == pytest.approx([1.0, 1.0, 1.0], abs=0.02)
    turned = mec(PERFECT @ [[1.0, -1.0], [1.0, 1.0]])
    assert (turned[:2] < 0.05).all()
    assert turned[2] > 0.98  # a linear map undoes a rotation


def test_a_factor_in_two_dimensions_lowers_the_compactness_only() -> None:
    doubled = mec(np.hstack([PERFECT, PERFECT[:, :1]]))
    # Of three dimensions two share a factor: max / sum is 1/2, chance 1/3.
    assert doubled == pytest.approx([1.0, (1.0 + 0.25) / 2.0, 1.0], abs=0.02)


def test_two_factors_in_one_dimension_lower_the_modularity_only() -> None:
    factors = np.stack(np.unravel_index(np.arange(960) % 12, (2, 2, 3)), axis=1)
    both = 2 * factors[:, 0] + factors[:, 1]
    mixed = mec(np.stack([both, factors[:, 2]], axis=1).astype(float), factors)
    # It knows all of both: max / sum is 1/2 where chance is 1/3.
    assert mixed[:2] == pytest.approx([(0.25 + 1.0) / 2.0, 1.0], abs=1e-6)


def test_explicitness_is_the_usable_information_of_two_normal_classes() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2, size=(20_000, 2))
    codes = 2.0 * factors + rng.normal(size=(20_000, 2))
    score = metrics.info_mec(codes, factors).explicitness
    # The classes' log odds are linear in the code: all information is usable.
    side = np.linspace(-8.0, 10.0, 20_001)
    densities = stats.norm.pdf(side[:, None], [0.0, 2.0]) / 2.0
    total = densities.sum(axis=1)
    conditional = -np.sum(densities * np.log(densities / total[:, None]))
    truth = 1.0 - conditional * (side[1] - side[0]) / np.log(2.0)
    assert abs(score.value - truth) <= 4.0 * score.standard_error
    assert 0.003 < score.standard_error < 0.015


def test_explicitness_is_linear() -> None:
    factors = np.random.default_rng(0).integers(0, 2, size=(4_000, 2))
    parity = factors.sum(axis=1) % 2
    # Each alone is as good as a coin, and the sum of no weights is a parity.
    codes = np.stack([parity, factors[:, 1]], axis=1).astype(float)
    score = metrics.info_mec(codes, factors)
    assert score.explicitness.value == pytest.approx(0.5, abs=0.01)


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
    expected = np.array([[0.947, 1.771, 2.433, 2.957, 3.716]])
    for sign in (1, -1):
        mapped = metrics.normal_scores(sign * codes, stats.t(df=9).cdf)
        assert mapped == pytest.approx(sign * expected, abs=5e-4)


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


@pytest.mark.parametrize(("n", "bins"), [(50, 2), (300, 10), (599, 19), (5_000, 20)])
def test_a_factor_has_as_many_bins_as_its_rows_afford(n: int, bins: int) -> None:
    factors = np.random.default_rng(0).permutation(n)[:, None]
    binned = information.bin_factors(factors)
    assert np.unique(binned).tolist() == list(range(bins))
    sizes = np.bincount(binned[:, 0])
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(binned[np.argsort(factors[:, 0]), 0]) >= 0).all()  # in order


@pytest.mark.parametrize("quantile", [0.99, 1.0])
@pytest.mark.parametrize("degrees", [0.0, 15.0, 30.0, 45.0, 60.0])
def test_robustness_of_rotated_codes_is_exact(degrees: float, quantile: float) -> None:
    # c v + s w moves by m (c + s) in all, and by m min(c, s) with its factor held.
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    codes = PERFECT @ np.array([[c, -s], [s, c]])
    score = metrics.interventional_robustness_score(codes, FACTORS, quantile=quantile)
    assert score.value == pytest.approx(max(c, s) / (c + s), abs=1e-9)


def test_robustness_weighs_dimensions_by_how_far_they_move() -> None:
    # In standard deviations a sum moves sqrt(2) times as far as a term, half of that
    # with a factor held.
    sums = PERFECT @ [1.0, 1.0]
    codes = np.stack([10.0 * PERFECT[:, 0], sums], axis=1)
    score = metrics.interventional_robustness_score(codes, FACTORS)
    expected = (1.0 + 0.5 * np.sqrt(2.0)) / (1.0 + np.sqrt(2.0))
    assert score.value == pytest.approx(expected, abs=1e-9)


def test_a_dimension_that_both_factors_must_tell_has_no_robustness() -> None:
    # An exclusive or: holding either factor leaves it as free as before.
    factors = FACTORS % 2
    either = (factors.sum(axis=1) % 2)[:, None] - 0.5
    assert metrics.interventional_robustness_score(either, factors).value == 0.0
    # Farther than before: 1.96 from the mean of the rows held, 1.0 from that of all.
    same = factors[:, [0, 0]]
    rare = np.where(np.isin(np.arange(1_000) % 100, [0, 10]), -1.0, 1.0)
    worse = (rare * (2.0 * same[:, 0] - 1.0))[:, None]
    assert metrics.interventional_robustness_score(worse, same).value == 0.0


def test_one_rare_exception_counts_in_the_maximum_alone() -> None:
    # In half a percent of the data of one value the dimension follows another.
    factors = np.stack([np.arange(20_000) % 2, np.arange(20_000) // 2 % 2], axis=1)
    codes = 2.0 * factors - 1.0
    exceptions = np.flatnonzero(factors[:, 0] == 1)[:50]
    codes[exceptions, 0] = -1.0
    robust, strict = (
        metrics.interventional_robustness_score(codes, factors, quantile=quantile)
        for quantile in (0.99, 1.0)
    )
    assert robust.value > 0.99
    # Its mean is -0.005. With the first factor held at 1 it is 0.99, 1.99 from -1.
    expected = (1.005 - 1.99 / 2.0 + 1.0) / (1.005 + 1.0)
    assert strict.value == pytest.approx(expected, abs=1e-4)


def test_a_value_of_one_row_shows_no_robustness() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([np.arange(400), rng.permutation(400)], axis=1)
    score = metrics.interventional_robustness_score(rng.normal(size=(400, 2)), factors)
    assert (score.value, score.chance) == (0.0, 0.0)
