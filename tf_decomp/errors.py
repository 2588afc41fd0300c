# SPDX-License-Identifier: Apache-2.0
"""Exceptions whose one-line message is all that a user needs, and checks of numbers."""

import math
import operator
from typing import Any

# Normal numbers of float32.
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127


class InputError(ValueError):
    """A value that the caller gave is not usable.

    The message is one line: what was expected, what was received, what to do.
    Command-line programs print it alone and exit with status 1.

    Example:
        >>> raise InputError("beta must be >= 0; received -1.0")
        Traceback (most recent call last):
        tf_decomp.errors.InputError: beta must be >= 0; received -1.0
    """

    # Keras adds lines to errors from within a layer's call, but to those that have it.
    _keras_call_info_injected = True


class NonFiniteLoss(ArithmeticError):
    """Training met a loss that is not finite.

    The message is one line: which term, at which step, where the batch is kept.

    Example:
        >>> raise NonFiniteLoss("training stopped: kl became inf at step 12")
        Traceback (most recent call last):
        tf_decomp.errors.NonFiniteLoss: training stopped: kl became inf at step 12
    """


def whole_number(
    name: str, value: Any, least: int | None = None, most: int | None = None
) -> int:
    """Returns a whole number, if it is one and in range.

    Args:
        name: What a message calls it.
        value: An integer of Python or NumPy.
        least: The smallest.
        most: The largest.

    Raises:
        InputError: It is of another type (bool and float too), or out of range.

    Example:
        >>> whole_number("num_samples", 1, least=1)
        1
    """
    try:
        if isinstance(value, bool):
            raise TypeError(value)
        number = operator.index(value)
    except TypeError:
        raise InputError(
            f"{name} must be a whole number; received {value!r:.60}"
        ) from None
    if least is not None and number < least:
        raise InputError(f"{name} must be >= {least}; received {number}")
    if most is not None and number > most:
        raise InputError(f"{name} must be <= {most}; received {number}")
    return number


def real_number(name: str, value: Any, least: float | None = None) -> float:
    """Returns a real number that float32 holds, if it is one and in range.

    Args:
        name: What a message calls it.
        value: A number of Python, NumPy or TensorFlow.
        least: The smallest.

    Raises:
        InputError: It is of another type, not finite or out of range.

    Example:
        >>> real_number("beta", 0.01, least=0)
        0.01
    """
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError(value)
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number; received {value!r:.60}") from None
    if not math.isfinite(number) or (least is not None and number < least):
        limit = "" if least is None else f">= {least} and "
        raise InputError(f"{name} must be {limit}finite; received {number}")
    if number and not _SMALLEST <= abs(number) <= _LARGEST:
        raise InputError(
            f"{name} must be 0 or of a size between {_SMALLEST:.2g} and "
            f"{_LARGEST:.2g}, as float32 holds it; received {number}"
        )
    return number
