# SPDX-License-Identifier: Apache-2.0
"""Where the marks of a metric's small bar are: its value among what it is held to."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tf_decomp.evaluation.report.numbers import format_number

WIDTH = 160  # of the drawing, in its own units, margins included

_MARGIN = 6
_WHISKER = 2  # standard errors to either side


class Bar(NamedTuple):
    """Horizontal places, in units of the drawing, and the labels of the two ends.

    Attributes:
        value: Place of the value.
        whisker: Ends of its whisker.
        chance: Place of the chance level, or None.
        chance_whisker: Ends of that level's whisker.
        bound: Place of the bound, or None.
        start: The number at the left end.
        end: The number at the right end.
    """

    value: float
    whisker: tuple[float, float]
    chance: float | None
    chance_whisker: tuple[float, float]
    bound: float | None
    start: str
    end: str


def place_bar(metric: Mapping[str, Any]) -> Bar | None:
    """Places a metric on a scale that holds 0, its chance level and its bound.

    Args:
        metric: `value`, and of `standard_error`, `chance`, `chance_standard_error` and
            `bound` those that there are.

    Returns:
        None where there is no value, or neither chance level nor bound to hold it to.

    Example:
        >>> place_bar({"value": 0.8, "standard_error": 0.01, "bound": 1.0}).end
        '1'
    """
    value, chance, bound = (
        _finite(metric, key) for key in ("value", "chance", "bound")
    )
    if value is None or (chance is None and bound is None):
        return None
    ends = _whisker(value, _finite(metric, "standard_error"))
    chance_ends = _whisker(chance, _finite(metric, "chance_standard_error"))
    marks = [0.0, value, *ends, *chance_ends]
    if bound is not None:
        # A whisker does not stretch the scale beyond a bound that the value respects.
        marks = [min(mark, bound) for mark in marks] if value <= bound else marks
        marks.append(bound)
    low, high = min(marks), max(marks)
    if low == high:
        return None

    def place(number: float) -> float:
        share = (min(max(number, low), high) - low) / (high - low)
        return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)

    return Bar(
        value=place(value),
        whisker=(place(ends[0]), place(ends[1])),
        chance=None if chance is None else place(chance),
        chance_whisker=(place(chance_ends[0]), place(chance_ends[1])),
        bound=None if bound is None else place(bound),
        start=_label(low),
        end=_label(high),
    )


def _label(number: float) -> str:
    text = format_number(number)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def _finite(metric: Mapping[str, Any], key: str) -> float | None:
    number = metric.get(key)
    return None if number is None or not math.isfinite(number) else float(number)


def _whisker(middle: float | None, standard_error: float | None) -> tuple[float, float]:
    if middle is None:
        return (0.0, 0.0)
    reach = _WHISKER * (standard_error or 0.0)
    return (middle - reach, middle + reach)
