# SPDX-License-Identifier: Apache-2.0
"""How figures name what they are given: counts, latent dimensions, quantiles."""

import numpy as np


def describe_count(shown: int, total: int) -> str:
    """Says how many of how many are shown.

    Args:
        shown: The number shown.
        total: The number there are.
    """
    return f"n = {total}" if shown == total else f"{shown} of n = {total}"


def spread_indices(total: int, most: int) -> np.ndarray:
    """Returns at most `most` indices below `total`, evenly spread, ascending.

    Args:
        total: The number of rows there are.
        most: The number of rows that a figure shows at most.
    """
    count = min(total, most)
    return np.arange(count) * total // count


def dimension_name(index: int) -> str:
    """Returns the name of a latent dimension; figures count from 1.

    Args:
        index: Counted from 0.
    """
    return f"$z_{{{index + 1}}}$"


def percent(quantile: float) -> str:
    """Returns a probability in per cent, two digits of the smaller tail kept.

    Args:
        quantile: A probability in (0, 1).
    """
    tail = 100 * min(quantile, 1 - quantile)
    decimals = max(0, 1 - int(np.floor(np.log10(tail))))
    text = f"{100 * quantile:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text) + " %"
