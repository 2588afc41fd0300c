# SPDX-License-Identifier: Apache-2.0
"""Numbers as a reader wants them: as many digits as they support, and on a scale."""

import math
from typing import NamedTuple

from tf_decomp.evaluation.rows import Row

BAR_WIDTH = 160  # of the drawing, in its own units, margins included

_MARGIN = 6
_WHISKER = 2  # standard errors to either side
_MISSING = "n/a"
_DIGITS_WITHOUT_ERROR = 3
_MOST_DIGITS = 7  # of a value whose standard error would allow more
_PLAIN_EXPONENTS = range(-4, 6)  # others are written with a power of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_count(count: float | None) -> str:
    """Formats a number of things, thousands set apart.

    Args:
        count: A whole number, or None.
    """
    return _MISSING if count is None else f"{count:,.0f}"


def format_number(value: float | None) -> str:
    """Formats a number without a known error to three significant digits.

    Args:
        value: The number; whole numbers below a million keep every digit.
    """
    if value is None or math.isnan(value):
        return _MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    exponent = _exponent(value)
    if exponent not in _PLAIN_EXPONENTS:
        mantissa = _fixed(value / 10.0**exponent, _DIGITS_WITHOUT_ERROR - 1)
        return f"{mantissa} × {_power(exponent)}"
    if float(value).is_integer():
        return _fixed(value, 0)
    return _fixed(value, max(0, _DIGITS_WITHOUT_ERROR - 1 - exponent))


def format_estimate(value: float | None, standard_error: float | None) -> str:
    """Formats a value, rounded to two significant digits of its standard error.

    Args:
        value: The estimate, or None where there is none.
        standard_error: Its standard error, or None where it is not known.

    Example:
        >>> format_estimate(4.0987654, 0.0213)
        '4.099 ± 0.021'
    """
    if value is None or standard_error is None:
        return format_number(value)
    if not (math.isfinite(value) and math.isfinite(standard_error)):
        return format_number(value)
    if standard_error == 0:
        return f"{format_number(value)} ± 0"
    exponent = _exponent(max(abs(value), standard_error))
    decimals = 1 - _exponent(standard_error)
    if exponent + decimals >= _MOST_DIGITS:
        value_text = _fixed(value, _MOST_DIGITS - 1 - exponent)
        return f"{value_text} ± {format_number(standard_error)}"
    if exponent in _PLAIN_EXPONENTS:
        return f"{_fixed(value, decimals)} ± {_fixed(standard_error, decimals)}"
    power, decimals = 10.0**exponent, decimals + exponent
    return (
        f"({_fixed(value / power, decimals)} ± "
        f"{_fixed(standard_error / power, decimals)}) × {_power(exponent)}"
    )


def _exponent(value: float) -> int:
    """Returns the power of ten of a number rounded to two significant digits."""
    return int(f"{value:.1e}".partition("e")[2])


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def _fixed(value: float, decimals: int) -> str:
    """Rounds to decimals (negative: tens, hundreds), with a real minus sign."""
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "−" if text.strip("-0.,") else "")


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


def place_bar(row: Row) -> Bar | None:
    """Places a number on a scale that holds 0, its chance level and its bound.

    Args:
        row: The number.

    Returns:
        None where there is no value, or neither chance level nor bound to hold it to.

    Example:
        >>> place_bar(Row("sparsity", "hoyer", "Hoyer", 0.8, 0.01, bound=1.0)).end
        '1'
    """
    value, chance, bound = map(finite, (row.value, row.chance, row.bound))
    if value is None or (chance is None and bound is None):
        return None
    ends = _whisker(value, row.standard_error)
    chance_ends = _whisker(chance, row.chance_standard_error)
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
        return round(_MARGIN + share * (BAR_WIDTH - 2 * _MARGIN), 1)

    return Bar(
        value=place(value),
        whisker=(place(ends[0]), place(ends[1])),
        chance=None if chance is None else place(chance),
        chance_whisker=(place(chance_ends[0]), place(chance_ends[1])),
        bound=None if bound is None else place(bound),
        start=_label(low),
        end=_label(high),
    )


def finite(number: float | None) -> float | None:
    """Returns a number, or None where there is none or no finite one."""
    return None if number is None or not math.isfinite(number) else float(number)


def _label(number: float) -> str:
    text = format_number(number)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def _whisker(middle: float | None, standard_error: float | None) -> tuple[float, float]:
    if middle is None:
        return (0.0, 0.0)
    reach = _WHISKER * (finite(standard_error) or 0.0)
    return (middle - reach, middle + reach)
