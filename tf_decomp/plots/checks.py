# SPDX-License-Identifier: Apache-2.0
"""Checks of the arrays that the figures are drawn from."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_decomp.errors import InputError

FloatArray = NDArray[np.float64]


def as_floats(name: str, value: ArrayLike, shape: str) -> FloatArray:
    """Returns an array of the rank that `shape` names, not empty, in float64.

    Args:
        name: What the caller calls the array, for the message.
        value: The array; it may hold NaN.
        shape: The shape expected, in words, such as "[n, latent_dim]".

    Raises:
        InputError: If the rank differs, an axis is empty or a value is no number.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be an array {shape} of numbers; "
            f"received {type(value).__name__}; pass a NumPy array"
        ) from None
    if array.ndim != shape.count(",") + 1 or array.size == 0:
        raise InputError(
            f"{name} must have the shape {shape}, no axis empty; "
            f"received {list(array.shape)}; reshape it"
        )
    return array


def as_finite(name: str, value: ArrayLike, shape: str) -> FloatArray:
    """Returns `as_floats`, all of whose values are finite.

    Args:
        name: What the caller calls the array, for the message.
        value: The array.
        shape: The shape expected, in words, such as "[n, latent_dim]".

    Raises:
        InputError: As `as_floats`, and if a value is NaN or infinite.
    """
    array = as_floats(name, value, shape)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise InputError(
            f"{name} must be finite; received {bad} NaN or infinite values of "
            f"{array.size}; look for the step that made them"
        )
    return array


def check_equal_shapes(names: str, first: tuple[int, ...], *rest: tuple) -> None:
    """Refuses shapes that should be equal and are not.

    Args:
        names: The names of the arrays in order, for the message.
        first: The shape of the first array.
        *rest: The shapes of the others.

    Raises:
        InputError: If one of the others differs from the first.
    """
    if any(shape != first for shape in rest):
        shapes = ", ".join(str(list(shape)) for shape in (first, *rest))
        raise InputError(
            f"{names} must have equal shapes; received {shapes}; "
            "pass arrays that belong together"
        )


def describe_count(shown: int, total: int) -> str:
    """Says how many of how many are shown.

    Args:
        shown: The number shown.
        total: The number there are.
    """
    return f"n = {total}" if shown == total else f"{shown} of n = {total}"


def spread_indices(total: int, most: int) -> NDArray[np.int64]:
    """Returns at most `most` indices below `total`, evenly spread, ascending.

    Args:
        total: The number of rows there are.
        most: The number of rows that a figure shows at most.
    """
    count = min(total, most)
    return np.arange(count, dtype=np.int64) * total // count
