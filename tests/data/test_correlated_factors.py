# SPDX-License-Identifier: Apache-2.0
"""Correlated factors: the joint distribution, and what scores make of it."""

# Factors are optional in the type of a split, never in these tests.
# mypy: disable-error-code="union-attr"

import functools
from typing import Any

import numpy as np
import pytest
from monte_carlo import assert_mean_close
from runs import one_line
from scipy import stats

from tf_decomp.data import FactorCorrelation, Split, correlate_factors, dsprites
from tf_decomp.data.dsprites_rendering import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    NUM_IMAGES,
    factor_classes,
)
from tf_decomp.errors import InputError
from tf_decomp.metrics import factor_vae_score, mutual_information_gap, sap_score


def _grid(sizes: tuple[int, ...], copies: int = 1) -> Split:
    """Returns every combination of factors a, b, c ..., each so many times."""
    axes = [np.arange(size) for size in sizes]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(sizes))
    grid = np.repeat(grid, copies, axis=0)
    rows = np.arange(len(grid))
    return Split(rows, rows % 7, grid, factor_names=tuple("abc"[: len(sizes)]))


def _weights(sizes: tuple[int, int], width: float) -> np.ndarray:
    """Returns exp(-(c1 - c2)^2 / (2 width^2)) of all pairs [size, size]."""
    c1, c2 = (np.linspace(0.0, 1.0, size) for size in sizes)
    return np.exp(-np.square(c1[:, None] - c2[None, :]) / (2.0 * width**2))


@pytest.mark.parametrize("width", [0.05, 0.2, 0.7])
@pytest.mark.parametrize("sizes", [(8, 8), (3, 32)])
def test_each_pair_is_kept_with_its_probability(
    sizes: tuple[int, int], width: float
) -> None:
    """Counts of the pairs against the binomial: their squared z-scores are chi^2."""
    copies = 500
    split = _grid((*sizes, 4), copies)
    kept = correlate_factors(split, FactorCorrelation("a", "b", width))
    counts = np.zeros(sizes)
    np.add.at(counts, tuple(kept.factors[:, :2].T), 1)
    n, p = 4 * copies, _weights(sizes, width)
    p /= p.max()
    sure, never = p == 1.0, n * p < 1e-3
    assert (counts[sure] == n).all()
    assert (counts[never] == 0).all()
    open_ = (n * p > 10) & (n * (1 - p) > 10)
    z = (counts - n * p)[open_] / np.sqrt((n * p * (1 - p))[open_])
    assert open_.sum() >= 8
    assert 1e-4 < stats.chi2.cdf(np.sum(z**2), open_.sum()) < 1 - 1e-4
    # The factor that is left alone stays uniform.
    assert stats.chisquare(np.bincount(kept.factors[:, 2])).pvalue > 1e-4


@pytest.mark.parametrize("width", [0.1, 0.2, 0.7])
def test_correlation_of_dsprites_is_the_exact_one(width: float) -> None:
    """The mean product of standardised positions, against the sum over all pairs."""
    rows = np.random.default_rng(0).permutation(NUM_IMAGES)[:50_000]
    classes = factor_classes(rows)
    split = Split(rows, factors=classes, factor_names=FACTOR_NAMES)
    kept = correlate_factors(split, FactorCorrelation("posX", "posY", width))
    p = _weights((32, 32), width)
    p /= p.sum()
    values, marginal = np.arange(32.0), p.sum(axis=1)
    mean = marginal @ values
    variance = marginal @ (values - mean) ** 2
    expected = (values - mean) @ p @ (values - mean) / variance
    x, y = kept.factors[:, 3:].T
    products = (x - mean) * (y - mean) / variance
    assert_mean_close(products, expected, num_stderr=5)
    assert expected == pytest.approx({0.1: 0.93, 0.2: 0.78, 0.7: 0.15}[width], abs=0.02)
    others = np.corrcoef(kept.factors.T)[:3]
    np.fill_diagonal(others, 0.0)
    assert np.abs(others).max() < 5 / np.sqrt(len(kept.x))


def test_the_ends_of_the_width() -> None:
    split = _grid((8, 8), copies=3)
    line = correlate_factors(split, FactorCorrelation("a", "b", 1e-30))
    np.testing.assert_array_equal(
        line.factors, np.repeat(np.arange(8), 6).reshape(-1, 2)
    )
    # Scaled classes that nowhere agree: the nearest pairs stay.
    halves = Split(
        np.arange(2), factors=np.array([[0, 2], [2, 0]]), factor_names=("a", "b")
    )
    assert len(correlate_factors(halves, FactorCorrelation("a", "b", 1e-30)).x) == 2
    all_ = correlate_factors(split, FactorCorrelation("a", "b", 1e6))
    np.testing.assert_array_equal(all_.x, split.x)


def test_rows_stay_together_in_order_and_follow_the_seed() -> None:
    split = _grid((8, 8), copies=50)
    correlate = functools.partial(
        correlate_factors, split, FactorCorrelation("b", "a", 0.2)
    )
    kept = correlate(seed=3)
    assert (np.diff(kept.x) > 0).all()  # none twice
    np.testing.assert_array_equal(kept.labels, kept.x % 7)
    np.testing.assert_array_equal(kept.factors, split.factors[kept.x])
    assert kept.factor_names == ("a", "b")
    np.testing.assert_array_equal(correlate(seed=3).x, kept.x)
    assert {*correlate(seed=4).x} != {*kept.x}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("a", "a"), ("two factors", "'a' twice")),
        (("a", 3), ("names of factors", "3")),
        (("", "b"), ("names of factors", "''")),
        (("a", "b", 0.0), ("width must be > 0", "0.0")),
        (("a", "b", -0.2), ("width must be > 0", "-0.2")),
        (("a", "b", np.inf), ("width", "inf")),
        (("a", "b", np.nan), ("width", "nan")),
        (("a", "b", "0.2"), ("width", "'0.2'")),
    ],
)
def test_what_is_no_correlation(arguments: Any, named: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        FactorCorrelation(*arguments)
    one_line(error, *named)


@pytest.mark.parametrize(
    ("split", "named"),
    [
        (_grid((4, 4))._replace(factor_names=("a", "d")), ("a, d", "'b'")),
        (_grid((4, 4))._replace(factors=None), ("two of a, b", "'a'")),
        (_grid((4, 4))._replace(factor_names=()), ("there are none", "'a'")),
        (_grid((4, 1)), ("several classes", "'b' has one")),
        (_grid((0, 0)), ("several classes", "no data")),
    ],
)
def test_what_cannot_be_correlated(split: Split, named: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        correlate_factors(split, FactorCorrelation("a", "b"))
    one_line(error, *named)


# -- what scores make of it -----------------------------------------------------------


def _codes(split: Split, degrees: float) -> np.ndarray:
    """Returns a perfect code [n, 5] whose two positions are turned by an angle."""
    z = split.factors / (np.array(FACTOR_SIZES) - 1.0) - 0.5
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    z[:, 3:] = z[:, 3:] @ np.array([[cos, -sin], [sin, cos]])
    return z


@pytest.fixture(scope="module")
def correlated() -> Split:
    """Drawn dSprites of which posX and posY are correlated by 0.78."""
    correlation = FactorCorrelation("posX", "posY", width=0.2)
    return dsprites(max_train_examples=12_000, correlation=correlation).train


@pytest.fixture(scope="module")
def plain() -> Split:
    return dsprites(max_train_examples=12_000).train


_factor_vae = functools.partial(
    factor_vae_score, train_votes=1_000, evaluation_votes=2_000, samples_per_vote=200
)


def test_factor_vae_keeps_a_perfect_code_at_1(correlated: Split, plain: Split) -> None:
    for split in (correlated, plain):
        assert _factor_vae(_codes(split, 0.0), split.factors).value == 1.0


def test_factor_vae_is_not_fooled_by_sum_and_difference(correlated: Split) -> None:
    """The sum varies most over all data, so it is stillest when either is held.

    It names one of the two factors, always: 3 of 5 are right, and one of the two.
    """
    score = _factor_vae(_codes(correlated, 45.0), correlated.factors)
    assert score.value == pytest.approx(0.8, abs=5 * score.standard_error)


def test_factor_vae_sees_rotations_sooner_where_factors_are_correlated(
    correlated: Split, plain: Split
) -> None:
    """From atan(1 / r) / 2 on, instead of 45 degrees, the sum is always stillest."""
    r = np.corrcoef(correlated.factors[:, 3:].T)[0, 1]
    limit = np.rad2deg(np.arctan(1.0 / r)) / 2.0
    assert limit == pytest.approx(26.0, abs=0.5)
    for degrees, split, expected in (
        (20.0, correlated, 1.0),
        (32.0, correlated, 0.8),
        (32.0, plain, 1.0),
    ):
        score = _factor_vae(_codes(split, degrees), split.factors)
        error = max(score.standard_error, 1e-3)
        assert score.value == pytest.approx(expected, abs=5 * error)


def test_scores_of_dependence_need_uncorrelated_data(
    correlated: Split, plain: Split
) -> None:
    """Dependence does not tell a factor from its companion.

    Of a perfect code the gap to the next dimension shrinks by what one factor says of
    the other, and SAP even prefers the sum and the difference.
    """
    perfect, entangled = (
        {
            name: [
                score(_codes(s, degrees), s.factors).value for s in (correlated, plain)
            ]
            for name, score in (("mig", mutual_information_gap), ("sap", sap_score))
        }
        for degrees in (0.0, 45.0)
    )
    assert perfect["mig"][1] == pytest.approx(1.0, abs=0.01)
    assert perfect["mig"][0] < 0.96
    assert entangled["mig"][0] > entangled["mig"][1] + 0.05
    assert perfect["sap"][1] > entangled["sap"][1] + 0.3
    assert perfect["sap"][0] < entangled["sap"][0] - 0.1
