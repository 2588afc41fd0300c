# SPDX-License-Identifier: Apache-2.0
"""What verdicts are made of: numbers over networks, and the one way to judge them.

Cells are compared on the same seeds.
"""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from paper.table import Row, choose, levels
from tf_decomp.estimates import mean_estimate

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
# Two networks that happen to agree would have a standard error of 0.
_LEAST_NETWORKS = 3
_LEVEL = 0.95


class Number(NamedTuple):
    """A mean over networks (or other units of repetition) with its uncertainty.

    Attributes:
        name: What it is, for readers of claims.json.
        value: The mean.
        standard_error: Of the mean; NaN where one unit cannot tell.
        n: How many networks.
    """

    name: str
    value: float
    standard_error: float
    n: int

    def interval(
        self, comparisons: int = 1, level: float = _LEVEL
    ) -> tuple[float, float]:
        """Returns an interval by Student's t; infinite with too few networks.

        Args:
            comparisons: By how many the error is shared (Bonferroni).
            level: Of its coverage.
        """
        if self.n < _LEAST_NETWORKS:
            return -np.inf, np.inf
        tail = (1 - level) / 2 / comparisons
        half = float(stats.t.ppf(1 - tail, self.n - 1)) * self.standard_error
        return self.value - half, self.value + half


# One number a seed.
BySeed = dict[float, float]
# A verdict and the numbers that it stands on.
Judged = tuple[str, list[Number]]


def mean_number(name: str, values: Iterable[float]) -> Number:
    """Returns the mean of independent values.

    Args:
        name: What it is.
        values: One a network.
    """
    array = np.fromiter(values, float)
    if not len(array):
        return Number(name, float("nan"), float("nan"), 0)
    return Number(name, *mean_estimate(array))


def by_seed(rows: Sequence[Row], quantity: str, **settings: object) -> BySeed:
    """Returns the mean of a quantity over the chosen cells, for seeds that have all.

    Args:
        rows: One a network.
        quantity: A column; rows without it do not count.
        **settings: What chosen rows have in their columns: a value, or a set of them.
    """
    chosen = choose(rows, quantity, **settings)
    values = collections.defaultdict(list)
    for row in chosen:
        values[row["seed"]].append(row[quantity])
    cells = max(map(len, values.values()), default=0)
    return {s: float(np.mean(v)) for s, v in values.items() if len(v) == cells}


def difference(name: str, first: BySeed, second: BySeed, weight: float = 1.0) -> Number:
    """Returns the mean over common seeds of first - weight * second.

    Args:
        name: What it is.
        first: One number a seed.
        second: One number a seed.
        weight: Of the second.
    """
    seeds = [seed for seed in first if seed in second]
    return mean_number(name, (first[s] - weight * second[s] for s in seeds))


def slopes(
    rows: Sequence[Row], x: Callable[[Row], float], y: Callable[[Row], float]
) -> BySeed:
    """Returns the least-squares slope of y on x within each seed of most points.

    Args:
        rows: One a network.
        x: Gives the place of a row.
        y: Gives its height.
    """
    points = collections.defaultdict(list)
    for row in rows:
        points[row["seed"]].append((x(row), y(row)))
    most = max(map(len, points.values()), default=0)
    return {
        seed: float(np.polyfit([a for a, _ in pairs], [b for _, b in pairs], 1)[0])
        for seed, pairs in points.items()
        if len(pairs) == most > 1
    }


def means_over_common_range(
    curves: Sequence[Sequence[Row]], along: str, x: str, y: str
) -> list[BySeed]:
    """Returns the mean height of each curve over the range of x that all share.

    A curve runs through the cells of its rows, each placed at the mean of x over its
    seeds (which varies little), at the height y of one seed, linear in between.

    Args:
        curves: Rows of each curve, one a network.
        along: The setting that tells the cells of a curve apart.
        x: Column of the place.
        y: Column of the height.

    Returns:
        For each curve one mean a seed; nothing where the curves share no range.
    """
    places = [_places(rows, along, x) for rows in curves]
    if not all(places):
        return [{} for _ in curves]
    low = max(min(place.values()) for place in places)
    high = min(max(place.values()) for place in places)
    if low >= high:
        return [{} for _ in curves]
    grid = np.linspace(low, high, 201)
    return [
        _mean_heights(rows, along, y, place, grid)
        for rows, place in zip(curves, places, strict=True)
    ]


def _places(rows: Sequence[Row], along: str, x: str) -> dict[float, float]:
    return {
        level: float(np.mean([row[x] for row in choose(rows, x, **{along: level})]))
        for level in levels(choose(rows, x), along)
    }


def _mean_heights(
    rows: Sequence[Row],
    along: str,
    y: str,
    place: dict[float, float],
    grid: np.ndarray,
) -> BySeed:
    order = sorted(place, key=lambda level: place[level])
    places = [place[level] for level in order]
    heights: dict[float, dict[float, float]] = collections.defaultdict(dict)
    for row in choose(rows, y):
        heights[row["seed"]][row[along]] = row[y]
    return {
        seed: float(np.interp(grid, places, [mine[level] for level in order]).mean())
        for seed, mine in sorted(heights.items())
        if mine.keys() == set(order)
    }


def judge(effect: Number, least: float = 0.0, comparisons: int = 1) -> str:
    """Says whether an effect is there.

    Not supported where the 95% interval lies below `least`, supported where it lies
    above 0, else inconclusive. So an effect of `least` or more is denied, and one of 0
    or less affirmed, in 2.5% of experiments at most. One that is there but surely
    smaller than what matters is not supported.

    Args:
        effect: Positive where the claim holds.
        least: The smallest effect that matters, >= 0.
        comparisons: How many effects the claim joins. All must be there for it to be
            supported, so that their errors do not add up; one absent suffices against
            it, so that for this their number widens the interval.
    """
    if effect.interval(comparisons)[1] < least:
        return NOT_SUPPORTED
    return SUPPORTED if effect.interval()[0] > 0 else INCONCLUSIVE


def judge_all(effects: Sequence[tuple[Number, float]]) -> str:
    """Says whether every effect is there: `judge` of each with its least, joined.

    Args:
        effects: Pairs of an effect and the least that matters.
    """
    return join_verdicts([judge(e, least, len(effects)) for e, least in effects])


def join_verdicts(verdicts: Sequence[str]) -> str:
    """Returns the verdict on a claim of several parts: all hold, one fails, or neither.

    Args:
        verdicts: Of the parts.
    """
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else INCONCLUSIVE
