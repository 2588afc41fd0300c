# SPDX-License-Identifier: Apache-2.0
"""What figures in steps are given: images, latent dimensions, quantiles."""

import numpy as np
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import FloatArray, as_finite


def check_steps(name: str, frames: np.ndarray, axes: str) -> None:
    """Refuses what are not images in steps.

    Args:
        name: What the caller calls the array, for the message.
        frames: Any array.
        axes: The names of its two leading axes.

    Raises:
        InputError: If the rank is not 5 or an axis is empty.
    """
    if frames.ndim != 5 or frames.size == 0:
        raise InputError(
            f"{name} must be images [{axes}, height, width, channels], not empty; "
            f"received shape {list(frames.shape)}; reshape it"
        )


def as_dimensions(value: ArrayLike, count: int) -> list[int]:
    """Returns `count` indices of latent dimensions.

    Args:
        value: [count] indices, counted from 0.
        count: How many there must be.

    Raises:
        InputError: If there are not `count` integers >= 0.
    """
    numbers = as_finite("dimensions", value, f"[{count}]")
    if len(numbers) != count or np.any((numbers < 0) | (numbers % 1 != 0)):
        raise InputError(
            f"dimensions must be {count} indices from 0, one for each row of frames; "
            f"received {numbers.tolist()}; give the latent dimensions shown"
        )
    return [int(number) for number in numbers]


def dimension_names(value: ArrayLike, count: int) -> list[str]:
    """Returns the names of latent dimensions, counted from 1.

    Args:
        value: [count] indices, counted from 0.
        count: How many there must be.

    Raises:
        InputError: If there are not `count` integers >= 0.
    """
    return [f"$z_{{{number + 1}}}$" for number in as_dimensions(value, count)]


def as_quantiles(value: ArrayLike) -> FloatArray:
    """Returns probabilities that ascend in (0, 1).

    Args:
        value: [num_steps] probabilities.

    Raises:
        InputError: If a value is not finite, or they do not ascend in (0, 1).
    """
    quantiles = as_finite("quantiles", value, "[num_steps]")
    if not (quantiles[0] > 0 and quantiles[-1] < 1 and np.all(np.diff(quantiles) > 0)):
        raise InputError(
            "quantiles must ascend in (0, 1); received "
            f"{quantiles.tolist()[:5]}...; sort them, as 0.01 for 1 %"
        )
    return quantiles


def percent(quantile: float) -> str:
    """Returns a probability in per cent, two digits of the smaller tail kept.

    Args:
        quantile: A probability in (0, 1).
    """
    tail = 100 * min(quantile, 1 - quantile)
    decimals = max(0, 1 - int(np.floor(np.log10(tail))))
    text = f"{100 * quantile:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text) + " %"
