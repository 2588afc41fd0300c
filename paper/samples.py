# SPDX-License-Identifier: Apache-2.0
"""Numbers of networks by seed, so that cells are compared on the same seeds."""

import collections
from collections.abc import Callable, Sequence

import numpy as np

from paper.statistics import Number, Row, mean_number

# One number a seed.
BySeed = dict[float, float]

# What tells the cells of a figure apart.
_CELL = (
    *("panel", "prior", "df", "gamma", "spike_variance", "alpha", "beta"),
    *("epochs", "max_train_examples"),
)


def by_seed(rows: Sequence[Row], quantity: str, **settings: object) -> BySeed:
    """Gives the mean of a quantity over the chosen cells, for seeds that have all.

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


def choose(rows: Sequence[Row], quantity: str, **settings: object) -> list[Row]:
    """Gives the rows that have the quantity and these settings.

    Args:
        rows: Any.
        quantity: A column.
        **settings: A value, or a set of them.
    """
    sets = {k: v if isinstance(v, set) else {v} for k, v in settings.items()}
    return [
        row
        for row in rows
        if quantity in row and all(row.get(k) in v for k, v in sets.items())
    ]


def levels(rows: Sequence[Row], setting: str) -> list[float]:
    """Gives the values of a setting in rising order.

    Args:
        rows: Any.
        setting: A column; rows without it do not count.
    """
    return sorted({row[setting] for row in rows if setting in row})


def count_networks(rows: Sequence[Row]) -> int:
    """Gives the number of networks that rows of all kinds are of.

    Args:
        rows: With the columns of their cell, and a seed.
    """
    return len({(row["seed"], *(row.get(name) for name in _CELL)) for row in rows})


def difference(name: str, first: BySeed, second: BySeed, weight: float = 1.0) -> Number:
    """Gives the mean over common seeds of first - weight * second.

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
    """Gives the least-squares slope of y on x within each seed of most points.

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
    """Gives the mean height of each curve over the range of x that all share.

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
        for level in levels(rows, along)
        if choose(rows, x, **{along: level})
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
