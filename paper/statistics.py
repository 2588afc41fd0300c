# SPDX-License-Identifier: Apache-2.0
"""What verdicts are made of: numbers over networks, and the one way to judge them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

# A line of data.csv: names to numbers and texts; an empty cell is not there.
Row = Mapping[str, Any]

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
        """Gives an interval by Student's t; infinite with too few networks.

        Args:
            comparisons: By how many the error is shared (Bonferroni).
            level: Of its coverage.
        """
        if self.n < _LEAST_NETWORKS:
            return -np.inf, np.inf
        tail = (1 - level) / 2 / comparisons
        half = float(stats.t.ppf(1 - tail, self.n - 1)) * self.standard_error
        return self.value - half, self.value + half


# A verdict and the numbers that it stands on.
Judged = tuple[str, list[Number]]


def mean_number(name: str, values: Iterable[float]) -> Number:
    """Gives the mean of independent values.

    Args:
        name: What it is.
        values: One a network.
    """
    array = np.fromiter(values, float)
    if not len(array):
        return Number(name, float("nan"), float("nan"), 0)
    error = array.std(ddof=1) / len(array) ** 0.5 if len(array) > 1 else float("nan")
    return Number(name, float(array.mean()), float(error), len(array))


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
    """Gives the verdict on a claim of several parts: all hold, one fails, or neither.

    Args:
        verdicts: Of the parts.
    """
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else INCONCLUSIVE
