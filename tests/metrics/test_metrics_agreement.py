# SPDX-License-Identifier: Apache-2.0
"""What codes of several networks agree on, where it is known."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from monte_carlo import assert_mean_close
from scipy.optimize import linear_sum_assignment

from tf_decomp.errors import InputError
from tf_decomp.metrics import (
    mean_correlation_coefficient,
    unsupervised_disentanglement_ranking,
)

# Three balanced, independent dimensions of ten values each: correlations are exactly 0.
GRID = np.stack(np.unravel_index(np.arange(1_000), (10, 10, 10)), axis=1) - 4.5
NOISE = np.random.default_rng(0).normal(size=(1_000, 3))
SCALES = np.ones(GRID.shape)


def turned(codes: np.ndarray, degrees: float) -> np.ndarray:
    """Two dimensions turned by an angle in their plane."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return codes[:, :2] @ np.array([[c, -s], [s, c]])


def mean_rank_correlation(r: float, n: int) -> float:
    """Exact mean of Spearman's over n pairs of normal numbers of correlation r."""
    limit, concordance = 6.0 / np.pi * np.arcsin(r / 2.0), 2.0 / np.pi * np.arcsin(r)
    return ((n - 2) * limit + 3.0 * concordance) / (n + 1)


def stated_and_spread(scores: list[tuple[float, float]]) -> tuple[float, float]:
    """The log of stated by true standard error, and what it is known to."""
    values, errors = np.transpose(scores)
    stated = np.sqrt(np.mean(errors**2))
    # The root of a chi-squared with m degrees of freedom has the error 1 / sqrt(2 m).
    known = 1.0 / np.sqrt(2 * (len(values) - 1))
    return float(np.log(stated / np.std(values, ddof=1))), known


# -- UDR -------------------------------------------------------------------------------


@pytest.mark.parametrize(("similarity", "best"), [("spearman", 1.0), ("lasso", 0.9)])
def test_equal_codes_up_to_order_and_sign(similarity: str, best: float) -> None:
    others = [GRID[:, [2, 0, 1]], GRID * [-1.0, 7.0, -0.1] + 5.0]
    ranking = unsupervised_disentanglement_ranking(
        [GRID, *others], similarity=similarity
    )
    np.testing.assert_allclose(ranking.value, best, atol=1e-9)
    np.testing.assert_allclose(ranking.standard_error, 0.0, atol=1e-9)
    assert (ranking.chance < 0.1).all()
    assert ranking.informative == ((0, 1, 2),) * 3
    assert (ranking.n, ranking.judged_by) == (1_000, "codes alone")


def test_ranks_do_not_change_under_monotone_maps() -> None:
    ranking = unsupervised_disentanglement_ranking([GRID, -np.exp(GRID)])
    np.testing.assert_allclose(ranking.value, 1.0, atol=1e-9)


@pytest.mark.parametrize("degrees", [10.0, 30.0, 45.0])
def test_lasso_weights_of_a_turned_code_are_exact(degrees: float) -> None:
    # Without correlation a Lasso weight is the correlation less the penalty.
    c, s = np.cos(np.deg2rad(degrees)) - 0.1, np.sin(np.deg2rad(degrees)) - 0.1
    ranking = unsupervised_disentanglement_ranking(
        [GRID[:, :2], turned(GRID, degrees)], similarity="lasso"
    )
    np.testing.assert_allclose(ranking.value, c**2 / (c + s), atol=1e-3)


def test_rank_correlations_of_a_turned_normal_code() -> None:
    angle = np.deg2rad(20.0)
    c, s = (mean_rank_correlation(r, 5_000) for r in (np.cos(angle), np.sin(angle)))
    rng = np.random.default_rng(0)
    values = []
    for _ in range(20):
        codes = rng.normal(size=(5_000, 2))
        ranking = unsupervised_disentanglement_ranking([codes, turned(codes, 20.0)])
        values.append(ranking.value[0])
    assert_mean_close(values, c**2 / (c + s))


def test_independent_codes_are_at_chance() -> None:
    rng = np.random.default_rng(1)
    codes = [rng.normal(size=(1_000, d)) for d in (2, 5, 3)]
    for similarity in ("spearman", "lasso"):
        ranking = unsupervised_disentanglement_ranking(codes, similarity=similarity)
        error = np.hypot(ranking.standard_error, ranking.chance_standard_error)
        assert (np.abs(ranking.value - ranking.chance) <= 5.0 * error).all()
        assert (ranking.value < 0.05).all()


def test_other_numbers_of_dimensions_by_hand() -> None:
    # R = [[1, 1, 0], [0, 0, 0]]: columns give 1 + 1 + 0, rows 1 / 2 + 0, of 5 in all.
    ranking = unsupervised_disentanglement_ranking(
        [GRID[:, [0, 1]], GRID[:, [0, 0, 2]]]
    )
    np.testing.assert_allclose(ranking.value, 0.5, atol=1e-9)
    assert np.isnan(ranking.standard_error).all()
    assert np.isnan(np.diagonal(ranking.pairs)).all()


def test_the_median_over_the_others_and_its_error() -> None:
    networks = [GRID[:, :2], GRID[:, 1::-1], -GRID[:, :2], turned(GRID, 30.0)]
    ranking = unsupervised_disentanglement_ranking(networks, similarity="lasso")
    best, c, s = 0.9, np.cos(np.pi / 6) - 0.1, np.sin(np.pi / 6) - 0.1
    other = c**2 / (c + s)
    np.testing.assert_allclose(ranking.value, [best] * 3 + [other], atol=1e-3)
    # Of best, best and other: the spread is (best - other) / sqrt(3).
    error = np.sqrt(np.pi / 2.0) * (best - other) / 3.0
    np.testing.assert_allclose(ranking.standard_error[:3], error, atol=1e-3)
    expected = np.where(np.eye(4) == 1.0, np.nan, best)
    expected[3, :3] = expected[:3, 3] = other
    np.testing.assert_allclose(ranking.pairs, expected, atol=1e-3)


def test_standard_error_is_the_spread_over_the_other_networks() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(300, 3))
    scores = []
    for _ in range(200):
        mixes = np.eye(3) + 0.4 * rng.normal(size=(5, 3, 3))
        ranking = unsupervised_disentanglement_ranking([codes, *(codes @ mixes)])
        scores.append((ranking.value[0], ranking.standard_error[0]))
    ratio, known = stated_and_spread(scores)
    assert abs(ratio) <= 5.0 * known


@pytest.mark.parametrize("told_by", ["KL", "posterior scales"])
def test_uninformative_dimensions_do_not_count(told_by: str) -> None:
    # The last dimension's tiny means follow the first: ranks magnify what they leak.
    codes = [np.hstack([GRID, 1e-3 * GRID[:, :1]])] * 2
    assert unsupervised_disentanglement_ranking(codes).value[0] < 0.8
    scales = [np.where(np.arange(4) < 3, 0.1, 1.0) * np.ones((1_000, 4))] * 2
    known: dict[str, Any] = {"posterior_scales": scales}
    if told_by == "KL":
        known = {"kl": [[3.0, 3.0, 3.0, 0.01]] * 2}
    ranking = unsupervised_disentanglement_ranking(codes, **known)
    np.testing.assert_allclose(ranking.value, 1.0, atol=1e-9)
    assert ranking.informative == ((0, 1, 2),) * 2
    assert ranking.judged_by == told_by


@pytest.mark.parametrize(
    ("mean", "scale", "informative"),
    [
        (np.sqrt(2 * 0.0099), 1.0, ()),  # mean^2 / 2 nats
        (np.sqrt(2 * 0.0101), 1.0, (0,)),
        (1e-6, 0.905, ()),  # (scale^2 - 1) / 2 - log(scale) = 0.0093
        (1e-6, 0.9, (0,)),  # 0.0104
    ],
)
def test_divergence_of_normal_posteriors(
    mean: float, scale: float, informative: tuple[int, ...]
) -> None:
    codes = mean * np.where(np.arange(1_000) % 2, 1.0, -1.0)[:, None]
    ranking = unsupervised_disentanglement_ranking(
        [codes, GRID], posterior_scales=[np.full((1_000, 1), scale), SCALES]
    )
    assert ranking.informative == (informative, (0, 1, 2))


def test_a_network_that_says_nothing_has_no_rank() -> None:
    silent = np.full((1_000, 2), 0.3)
    for networks in ([silent, GRID, GRID], [silent, silent, silent]):
        ranking = unsupervised_disentanglement_ranking(networks)
        assert ranking.value[0] == ranking.chance[0] == 0.0
        assert ranking.informative[0] == ()
        assert np.isfinite(ranking.value).all()
    # A constant mean away from the prior's has a KL, and says nothing all the same.
    ranking = unsupervised_disentanglement_ranking(
        [silent, GRID], kl=[[0.045, 0.045], [1.0, 1.0, 1.0]]
    )
    assert not ranking.value.any()
    assert ranking.informative == ((), (0, 1, 2))


def test_exact_posteriors_are_informative() -> None:
    none = np.zeros(GRID.shape)
    ranking = unsupervised_disentanglement_ranking(
        [GRID, 1e200 * GRID], posterior_scales=[none, none]
    )
    np.testing.assert_allclose(ranking.value, 1.0, atol=1e-9)


def test_the_order_of_networks_does_not_matter() -> None:
    networks = [GRID + NOISE, GRID, turned(GRID, 30.0)]
    for similarity in ("spearman", "lasso"):
        rank = partial(unsupervised_disentanglement_ranking, similarity=similarity)
        forward, back = rank(networks), rank(networks[::-1])
        np.testing.assert_allclose(back.value[::-1], forward.value, atol=1e-9)
        again = rank(np.array([GRID, GRID + NOISE]), seed=3)
        assert (again.chance == rank([GRID, GRID + NOISE], seed=3).chance).all()


# -- MCC -------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ["spearman", "pearson"])
def test_a_code_matches_itself(correlation: str) -> None:
    codes = NOISE @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    others = (codes * [-2.0, 1.0, -1e-6] + 9.0)[:, [2, 0, 1]]
    match = mean_correlation_coefficient(codes, others, correlation=correlation)
    assert match.value == pytest.approx(1.0, abs=1e-9)
    assert match.standard_error == pytest.approx(0.0, abs=1e-9)
    assert match.dimensions == (0, 1, 2)
    assert (match.permutation, match.signs) == ((1, 2, 0), (-1, 1, -1))
    aligned = others[:, match.permutation] * match.signs
    for d in range(3):
        assert np.corrcoef(codes[:, d], aligned[:, d])[0, 1] == pytest.approx(1.0)
    assert match.n == 1_000
    assert match.value - match.chance > 5.0 * match.chance_standard_error


def test_ranks_see_through_monotone_maps_alone() -> None:
    others = np.exp(-2.0 * NOISE)
    assert mean_correlation_coefficient(NOISE, others).value == pytest.approx(1.0)
    linear = mean_correlation_coefficient(NOISE, others, correlation="pearson")
    assert linear.value < 0.9
    assert linear.signs == (-1, -1, -1)


def test_correlations_of_a_turned_code() -> None:
    for degrees in (10.0, 45.0, 70.0):
        angle = np.deg2rad(degrees)
        match = mean_correlation_coefficient(
            GRID[:, :2], turned(GRID, degrees), correlation="pearson"
        )
        largest = max(np.cos(angle), np.sin(angle))
        assert match.value == pytest.approx(largest, abs=1e-9)
        np.testing.assert_allclose(match.similarity, largest, atol=1e-9)
    rng = np.random.default_rng(0)
    values = []
    for _ in range(20):
        codes = rng.normal(size=(2_000, 2))
        values.append(mean_correlation_coefficient(codes, turned(codes, 30.0)).value)
    assert_mean_close(values, mean_rank_correlation(np.cos(np.pi / 6.0), 2_000))


def test_the_best_of_all_matchings() -> None:
    rng = np.random.default_rng(3)
    codes = rng.normal(size=(200, 4))
    others = codes @ rng.normal(size=(4, 4))
    table = np.abs(np.corrcoef(codes.T, others.T)[:4, 4:])
    sums = {p: table[range(4), p].mean() for p in permutations(range(4))}
    match = mean_correlation_coefficient(codes, others, correlation="pearson")
    assert match.permutation == max(sums, key=lambda p: sums[p])
    assert match.value == pytest.approx(max(sums.values()), abs=1e-12)
    assert match.value == pytest.approx(np.mean(match.similarity), abs=1e-12)


def test_dimensions_without_a_partner() -> None:
    few = GRID[:, [2, 0]]
    match = mean_correlation_coefficient(GRID, -few)
    assert match.value == pytest.approx(1.0)
    assert (match.dimensions, match.permutation) == ((0, 2), (1, 0))
    back = mean_correlation_coefficient(few, GRID)
    assert (back.dimensions, back.permutation) == ((0, 1), (2, 0))
    constant = np.where(np.arange(3) == 1, 0.3, GRID)
    match = mean_correlation_coefficient(GRID, constant)
    assert match.value == pytest.approx(2.0 / 3.0)
    assert match.similarity[1] == 0.0


def test_unrelated_codes_match_at_chance() -> None:
    rng = np.random.default_rng(2)
    match = mean_correlation_coefficient(
        rng.normal(size=(500, 5)), rng.standard_t(3, size=(500, 8))
    )
    error = np.hypot(match.standard_error, match.chance_standard_error)
    assert abs(match.value - match.chance) <= 5.0 * error
    # The best matching of normal numbers of deviation 1 / sqrt(n).
    tables = np.abs(rng.normal(size=(500, 5, 8))) / np.sqrt(500)
    best = [t[linear_sum_assignment(t, maximize=True)].mean() for t in tables]
    assert abs(match.chance - np.mean(best)) <= 5.0 * np.std(best) / np.sqrt(5)


@pytest.mark.parametrize("correlation", ["spearman", "pearson"])
def test_standard_error_is_the_spread_over_data_sets(correlation: str) -> None:
    rng = np.random.default_rng(7)
    scores = []
    for seed in range(100):
        shared = rng.normal(size=(300, 3))
        codes, others = shared + 0.5 * rng.normal(size=(2, *shared.shape))
        match = mean_correlation_coefficient(
            codes, others, correlation=correlation, seed=seed
        )
        scores.append(match[:2])
    ratio, known = stated_and_spread(scores)
    assert abs(ratio) <= 5.0 * known


# -- what they cannot use --------------------------------------------------------------

RANK: Callable[..., Any] = unsupervised_disentanglement_ranking
BOTH = {"kl": [[1.0] * 3] * 2, "posterior_scales": [SCALES] * 2}


@pytest.mark.parametrize(
    ("message", "codes", "options"),
    [
        ("sequence of two or more arrays", None, {}),
        ("sequence of two or more arrays", 3, {}),
        ("sequence of two or more arrays", [], {}),
        ("sequence of two or more arrays", [GRID], {}),
        ("sequence of two or more arrays", {"a": GRID, "b": GRID}, {}),
        (r"codes\[0\] must be a float array .* received float64 \[3\]", GRID, {}),
        (r"codes\[1\] must be a float array .* <U", [GRID, GRID.astype(str)], {}),
        (r"codes\[1\] must be finite; received 3000", [GRID, GRID * np.nan], {}),
        (r"same data.* received \[1000, 999\] rows", [GRID, GRID[:-1]], {}),
        (r"at least 50 rows; received \[20, 20\] rows", [GRID[:20]] * 2, {}),
        ("similarity must be spearman or lasso", [GRID] * 2, {"similarity": "mcc"}),
        ("similarity must be spearman or lasso", [GRID] * 2, {"similarity": ["lasso"]}),
        ("seed must be a whole number >= 0", [GRID] * 2, {"seed": -1}),
        ("pass one", [GRID] * 2, BOTH),
        ("kl must be a sequence of 2 arrays", [GRID] * 2, {"kl": [[1.0] * 3]}),
        ("kl must be a sequence of 2 arrays", [GRID] * 2, {"kl": 0.5}),
        (r"kl\[0\] must be 3 finite numbers", [GRID] * 2, {"kl": [1.0, 1.0]}),
        (r"kl\[1\] must be 3", [GRID] * 2, {"kl": [[1.0] * 3, [1.0, np.nan, 1.0]]}),
        (r"kl\[1\] must be 3", [GRID] * 2, {"kl": [[1.0] * 3, ["a", "b", "c"]]}),
        (
            "posterior_scales must be a sequence of 2",
            [GRID] * 2,
            {"posterior_scales": [SCALES]},
        ),
        (
            r"posterior_scales\[1\] must be standard deviations \[1000, 3\]",
            [GRID] * 2,
            {"posterior_scales": [SCALES, -SCALES]},
        ),
    ],
)
def test_what_cannot_be_ranked(
    message: str, codes: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        RANK(codes, **options)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("message", "codes", "others", "options"),
    [
        ("codes must be a float array", None, GRID, {}),
        ("others must be a float array", GRID, GRID[:, 0], {}),
        ("others must be a float array", GRID, "codes.npz", {}),
        ("others must be finite; received 3000", GRID, GRID * np.inf, {}),
        (r"same data.* received \[1000, 9\] rows", GRID, GRID[:9], {}),
        ("at least 50 rows", GRID[:49], GRID[:49], {}),
        ("spearman or pearson", GRID, GRID, {"correlation": "kendall"}),
        ("spearman or pearson", GRID, GRID, {"correlation": None}),
        ("seed must be a whole number >= 0", GRID, GRID, {"seed": 1.5}),
    ],
)
def test_what_cannot_be_matched(
    message: str, codes: Any, others: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        mean_correlation_coefficient(codes, others, **options)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
