# SPDX-License-Identifier: Apache-2.0
"""A number with its uncertainty, and the mean of independent numbers."""

from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A number with its uncertainty.

    Attributes:
        value: The estimate.
        standard_error: Its standard error; NaN where one number cannot tell.
        n: How many examples it stands on.
    """

    value: float
    standard_error: float
    n: int


def mean_estimate(values: Any) -> Estimate:
    """Returns the mean of independent numbers with its standard error.

    Infinite numbers give an infinite mean with an infinite error, never NaN.

    Args:
        values: [n].
    """
    array = np.asarray(values, np.float64)
    n = len(array)
    if np.isinf(array).any():
        return Estimate(float(array.sum()), float("inf"), n)
    error = float(array.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return Estimate(float(array.mean()), error, n)
