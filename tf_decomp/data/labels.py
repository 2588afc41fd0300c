# SPDX-License-Identifier: Apache-2.0
"""Class labels as users store them, made one label a datum."""

import numpy as np

from tf_decomp.errors import InputError

# Beyond, not all whole numbers have a float64.
_LARGEST = 2**53


def class_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Returns the class of each datum, a whole number or a word.

    Args:
        labels: [n] or [n, 1], whole numbers of any numeric type or words; or one-hot
            [n, classes], rows of zeros and a single one.
        name: What messages call it.

    Returns:
        [n] int64, of one-hot rows the place of the one; or [n] words.

    Raises:
        InputError: The shape or the type is another, a number is not whole (NaN, say),
            or a row of [n, classes] is not one-hot.

    Example:
        >>> class_labels(np.eye(3)[[2, 0]], "y").tolist()
        [2, 0]
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "buifUS":
        raise InputError(
            f"{name} must be classes [n], [n, 1] or one-hot [n, classes], whole "
            f"numbers or words; received {labels.dtype} of shape {labels.shape}"
        )
    if labels.ndim == 2:
        return _of_one_hot(labels, name)
    if labels.dtype.kind == "S":
        return _decoded(labels, name)
    if labels.dtype.kind in "fu":
        _check_whole(labels, name)
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def _of_one_hot(labels: np.ndarray, name: str) -> np.ndarray:
    wrong = np.ones(len(labels), bool)
    if labels.dtype.kind in "buif" and labels.shape[1]:
        ones = labels == 1
        wrong = (np.count_nonzero(labels, axis=1) != 1) | ~ones.any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{name} of shape {labels.shape} must be one-hot, rows of zeros and a "
            f"single one; row {row} is not; give one class a row, [n]"
        )
    return ones.argmax(axis=1).astype(np.int64)


def _decoded(labels: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} must be words in UTF-8; received bytes that are not ({error}); "
            "number the classes"
        ) from None


def _check_whole(labels: np.ndarray, name: str) -> None:
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)
    bad = ~(np.abs(labels) <= _LARGEST)  # NaN too
    if labels.dtype.kind == "f":
        bad |= labels != np.rint(labels)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{name} must hold whole numbers below 2^53, classes; received "
            f"{labels[row]} in row {row}; leave such rows out or number the classes"
        )
