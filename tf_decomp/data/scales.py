# SPDX-License-Identifier: Apache-2.0
"""The scale of data: which numbers are pixels, and whether two arrays share one."""

import numpy as np

from tf_decomp.errors import InputError

# Up to here float32 tells whole numbers apart.
_WHOLE_IN_FLOAT32 = 2**24
_WHITE_OF_BYTES, _WHITE_OF_WORDS = 255, 65535


def white_level(dtype: np.dtype, smallest: float, largest: float) -> float:
    """Returns the value of white: divided by it, images lie in [0, 1].

    Args:
        dtype: The type in which the images were stored.
        smallest: The smallest value of the training images.
        largest: The largest one.

    Returns:
        255 for whole numbers from 0 to at most 255 (of any integer type), 65,535 for
        such up to 65,535; 1, so that all values stay, for images of nothing but 0 and
        1 (binary ones), for other whole numbers and for floats.

    Example:
        >>> white_level(np.dtype(np.int64), 0, 254), white_level(np.dtype(bool), 0, 1)
        (255.0, 1.0)
    """
    low, high = float(smallest), float(largest)
    if dtype.kind not in "iu" or low < 0 or not 1 < high <= _WHITE_OF_WORDS:
        return 1.0
    return float(_WHITE_OF_BYTES if high <= _WHITE_OF_BYTES else _WHITE_OF_WORDS)


def one_white_level(train: np.ndarray, test: np.ndarray | None, file: str) -> float:
    """Returns the `white_level` of training data, where it serves the test data too.

    The values of vectors [n, size] stay as they are: white is 1.

    Args:
        train: [n, ...] as stored.
        test: The same of the test data, or None.
        file: Where they are from, for messages.

    Raises:
        InputError: One of the two was divided and the other was not, or would be.

    Example:
        >>> one_white_level(np.array([[[0, 99]]]), np.array([[[0, 255]]]), "mine.npz")
        255.0
    """
    white = _white_level_of(train)
    if test is None:
        return white
    if white > 1.0:
        is_whole = test.dtype.kind in "bui"
        alike = is_whole and test.min() >= 0 and test.max() <= white
    else:
        alike = not (
            (train.max() <= 1 and _white_level_of(test) > 1.0)
            or _is_divided(train, test)
            or _is_divided(test, train)
        )
    if not alike:
        raise InputError(
            f"x_train and x_test of {file} must have one scale; received "
            f"{_range(train)} and {_range(test)}; store both alike"
        )
    return white


def describe_scale(
    dtype: np.dtype, smallest: float, largest: float, white: float
) -> str:
    """Says in what range data were stored, and how they were scaled.

    Args:
        dtype: The type in which they were stored.
        smallest: The smallest value.
        largest: The largest one.
        white: What they are divided by.

    Example:
        >>> describe_scale(np.dtype(np.uint8), 0, 255, 255.0)
        'uint8 0..255, divided by 255'
    """
    scaling = "kept as they are" if white == 1.0 else f"divided by {white:g}"
    return f"{dtype} {_number(smallest)}..{_number(largest)}, {scaling}"


def check_values(x: np.ndarray, name: str) -> None:
    """Refuses numbers that float32 does not hold.

    Args:
        x: Of any real type.
        name: What messages call it.

    Raises:
        InputError: It holds NaN, infinity, more than float32 does or next to nothing,
            or integers whose last digits would be lost.
    """
    largest = max(abs(float(x.min())), abs(float(x.max())))  # NaN if there is any
    if x.dtype.kind in "iu" and largest > _WHOLE_IN_FLOAT32:
        raise InputError(
            f"{name} must hold integers of at most {_WHOLE_IN_FLOAT32:,}, beyond which "
            f"float32 loses digits; received {_range(x)}; subtract an offset, or store "
            "floats if the last digits do not matter"
        )
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(np.float32(largest))
    if not is_finite:
        raise InputError(
            f"{name} must be finite in float32; it holds NaN or infinite values, or "
            "such above 3.4e38; clean the array"
        )
    if 0.0 < largest < np.finfo(np.float32).tiny:
        raise InputError(
            f"{name} must hold numbers that float32 has; received none above "
            f"{largest:.2g}; scale the array"
        )


def _white_level_of(x: np.ndarray) -> float:
    return white_level(x.dtype, x.min(), x.max()) if x.ndim > 2 else 1.0


def _is_divided(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether the one looks as if divided by 255 and the other does not."""
    divided = one.min() >= -1 and 0.5 < one.max() <= 1
    return bool(divided and other.min() >= 0 and 127 < other.max() <= _WHITE_OF_BYTES)


def _range(x: np.ndarray) -> str:
    return f"{x.dtype} {_number(x.min())}..{_number(x.max())}"


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(int(value))
