# SPDX-License-Identifier: Apache-2.0
"""What every data source returns, and the steps that several of them share."""

import numbers
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_whole_number, short
from tf_decomp.errors import InputError

_ROWS_AT_ONCE = 4096  # bounds the memory of a conversion


class Split(NamedTuple):
    """One part of a data set, as NumPy arrays.

    Args:
        x: [n, ...] the data: float32, or packed rows that `unpack` understands.
        labels: [n] classes, whole numbers or words, or None.
        factors: [n, num_factors] integer ground-truth factors, or None.
        unpack: Maps a tensor of rows of `x`, [batch, ...], to float32 data inside
            tf.data; None where `x` needs no unpacking.
        note: What a reader must know of `x`, as how it was scaled; "" for nothing.
        factor_names: [num_factors] names of the factors, or () where they have none.

    Example:
        >>> split = Split(np.zeros((10, 2), np.float32))
        >>> split.data_shape, split.examples(slice(3)).shape
        ((2,), (3, 2))
    """

    x: np.ndarray
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None
    unpack: Callable[[tf.Tensor], tf.Tensor] | None = None
    note: str = ""
    factor_names: tuple[str, ...] = ()

    @property
    def data_shape(self) -> tuple[int, ...]:
        """The shape of one example, unpacked."""
        return self.examples(slice(1)).shape[1:]

    def examples(self, rows: np.ndarray | slice) -> np.ndarray:
        """Returns some examples as a model takes them.

        Args:
            rows: Which rows of `x`: a slice, integers [m] or booleans [n].

        Returns:
            [m, *data_shape] float32, unpacked.
        """
        x = self.x[rows]
        if self.unpack is None:
            return np.asarray(x, np.float32)
        starts = range(0, max(len(x), 1), _ROWS_AT_ONCE)
        with tf.device("CPU"):
            parts = [
                self.unpack(tf.constant(x[start : start + _ROWS_AT_ONCE]))
                for start in starts
            ]
        return np.concatenate(parts, dtype=np.float32)


class Dataset(NamedTuple):
    """A training and a test split that share no example.

    Args:
        train: The split to learn from.
        test: The split to judge on.

    Example:
        >>> split = Split(np.zeros((10, 2), np.float32))
        >>> Dataset(train=split, test=split).test.x.shape
        (10, 2)
    """

    train: Split
    test: Split


def seeded_generator(seed: int, stream: str) -> np.random.Generator:
    """Returns the generator of one named stream of a seed.

    Streams of the same seed are independent, so that, say, the subset taken and
    the examples held out do not depend on each other.

    Args:
        seed: A non-negative integer.
        stream: What the numbers are for.

    Returns:
        A generator that depends on the two arguments only.

    Raises:
        InputError: If the seed is negative or not whole.

    Example:
        >>> int(seeded_generator(0, "subset").integers(10)) < 10
        True
    """
    seed = check_whole_number("seed", seed, 0)
    return np.random.default_rng([seed, *stream.encode()])


def subset(split: Split, max_examples: int | None, seed: int) -> Split:
    """Returns a seeded random subset of a split, in random order.

    Args:
        split: The split to choose from; its rows may be sorted by class.
        max_examples: How many rows to keep. None, or a number not below the
            number of rows, keeps the split as it is.
        seed: The choice is a function of this seed and the number of rows.

    Returns:
        A split with at most `max_examples` rows, without repetition.

    Raises:
        InputError: If max_examples is below 1.

    Example:
        >>> subset(Split(np.arange(10.0)), 3, seed=0).x.shape
        (3,)
    """
    if max_examples is None:
        return split
    check_whole_number("max_examples", max_examples, 1)
    num_examples = len(split.x)
    if max_examples >= num_examples:
        return split
    order = seeded_generator(seed, "subset").permutation(num_examples)
    return take_rows(split, order[:max_examples])


def hold_out(split: Split, fraction: float, seed: int) -> Dataset:
    """Returns two seeded random parts of a split, the second set aside as a test split.

    Args:
        split: At least two examples.
        fraction: The share of the test split, in (0, 1). At least one example
            goes to each side.
        seed: The choice is a function of this seed and the number of rows.

    Returns:
        The two parts, which share no row and together hold every row.

    Raises:
        InputError: If the fraction is outside (0, 1) or there is one example only.

    Example:
        >>> hold_out(Split(np.arange(10.0)), 0.1, seed=0).test.x.shape
        (1,)
    """
    num_examples = len(split.x)
    if not isinstance(fraction, numbers.Real) or not 0.0 < fraction < 1.0:
        raise InputError(f"fraction must be in (0, 1); received {short(fraction)}")
    if num_examples < 2:
        raise InputError(
            "holding out a test set needs at least 2 examples; "
            f"received {num_examples}; give a test set"
        )
    num_test = min(max(round(fraction * num_examples), 1), num_examples - 1)
    order = seeded_generator(seed, "hold_out").permutation(num_examples)
    return Dataset(
        train=take_rows(split, order[num_test:]),
        test=take_rows(split, order[:num_test]),
    )


def take_rows(split: Split, rows: np.ndarray) -> Split:
    """Returns the given rows of every array of a split.

    Args:
        split: n rows.
        rows: Integers [m].

    Example:
        >>> take_rows(Split(np.arange(10.0)), np.array([3, 1])).x.tolist()
        [3.0, 1.0]
    """
    return split._replace(
        x=split.x[rows],
        labels=None if split.labels is None else split.labels[rows],
        factors=None if split.factors is None else split.factors[rows],
    )
