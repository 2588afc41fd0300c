# SPDX-License-Identifier: Apache-2.0
"""XYSquares (Michlo, Klein and James, 2021): three squares that move on a grid.

The data of "Overlooked Implications of the Reconstruction Loss for VAE
Disentanglement".
"""

import functools
import math

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_whole_number
from tf_decomp.data.correlation import FactorCorrelation, correlate_factors
from tf_decomp.data.dataset import Dataset, Split, hold_out, subset
from tf_decomp.errors import InputError

FACTOR_NAMES = ("x_R", "y_R", "x_G", "y_G", "x_B", "y_B")
FACTOR_SIZES = (8, 8, 8, 8, 8, 8)
_CELLS = 8  # of the grid, in each direction
_TEST_FRACTION = 0.1


def xy_squares(
    image_size: int = 64,
    max_train_examples: int | None = None,
    seed: int = 0,
    correlation: FactorCorrelation | None = None,
) -> Dataset:
    """Returns images of a red, a green and a blue square, each in a cell of a grid.

    A square fills one of 8 x 8 cells of its own channel, with 1 on 0; where squares
    meet, their colours add. Two positions share no pixel, neighbours no more than
    opposite corners. So a loss that compares pixels is the same for all moves of a
    square and says nothing of the order of positions, which disentanglement from
    pixels rests on. The values are binary: a Bernoulli likelihood fits.

    There are 8^6 = 262,144 images, of which a random tenth is held out for tests.

    Args:
        image_size: Height and width, a multiple of 8; 64 makes squares of 8 pixels.
        max_train_examples: Keep a seeded random subset of so many training images;
            None keeps all 235,930.
        seed: The hold-out and the subsets are functions of this seed.
        correlation: Train on images in which these two factors are correlated, as
            `correlate_factors` chooses them; the test set stays as it is.

    Returns:
        Splits with `x` [n, 6] uint8, the factors, which `unpack` draws as float32
        [n, image_size, image_size, 3]; and `factors` [n, 6] int64: x (column, from
        the left) and y (row, from the top) of the red, green and blue square.

    Raises:
        InputError: If image_size is no multiple of 8, max_train_examples or the seed is
            out of range, or there is no such factor.

    Example:
        >>> train = xy_squares(max_train_examples=500).train
        >>> train.data_shape, train.factors.shape
        ((64, 64, 3), (500, 6))
    """
    check_whole_number("image_size", image_size, _CELLS)
    if image_size % _CELLS:
        raise InputError(
            f"image_size must be a multiple of {_CELLS} for xy_squares, the cells of "
            f"its grid; received {image_size}"
        )
    rows = np.arange(math.prod(FACTOR_SIZES))
    factors = np.stack(np.unravel_index(rows, FACTOR_SIZES), axis=1)
    grid = Split(
        factors.astype(np.uint8),
        factors=factors,
        unpack=functools.partial(_draw, image_size=image_size),
        factor_names=FACTOR_NAMES,
    )
    train, test = hold_out(grid, _TEST_FRACTION, seed)
    if correlation is not None:
        train = correlate_factors(train, correlation, seed)
    return Dataset(train=subset(train, max_train_examples, seed), test=test)


def _draw(factors: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns the images [n, image_size, image_size, 3] of factors [n, 6]."""
    cells = tf.one_hot(tf.cast(factors, tf.int32), _CELLS, axis=1)  # [n, 8, 6]
    lines = tf.repeat(cells, image_size // _CELLS, axis=1)  # [n, image_size, 6]
    columns, rows = lines[..., 0::2], lines[..., 1::2]
    return rows[:, :, None, :] * columns[:, None, :, :]
