# SPDX-License-Identifier: Apache-2.0
"""Numbers as a reader wants them: no more digits than their uncertainty supports."""

import math

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
    """Gives the power of ten of a number rounded to two significant digits."""
    return int(f"{value:.1e}".partition("e")[2])


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def _fixed(value: float, decimals: int) -> str:
    """Rounds to decimals (negative: tens, hundreds), with a real minus sign."""
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "−" if text.strip("-0.,") else "")
