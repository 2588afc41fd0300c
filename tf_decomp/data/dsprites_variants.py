# SPDX-License-Identifier: Apache-2.0
"""Color-dSprites and Noisy-dSprites (Locatello et al., 2019): dSprites in colour.

The data of "Challenging Common Assumptions in the Unsupervised Learning of
Disentangled Representations" (ICML 2019). There colours and noise are drawn anew
whenever an image is; here every image keeps its own, so that the data set is fixed.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_decomp.data.correlation import FactorCorrelation
from tf_decomp.data.dataset import Dataset, Split, seeded_generator
from tf_decomp.data.dsprites import average_blocks, dsprites, unpack_pixels
from tf_decomp.data.dsprites_rendering import FACTOR_SIZES, NUM_IMAGES, SIDE

_PACKED_BYTES = SIDE * SIDE // 8


def color_dsprites(
    data_dir: str | Path | None = None,
    image_size: int = 64,
    max_train_examples: int | None = None,
    seed: int = 0,
    correlation: FactorCorrelation | None = None,
) -> Dataset:
    """Returns dSprites whose shapes have random colours, on black.

    Each of the three channels is the binary image times a number drawn uniformly from
    [0.5, 1]. The colour is no factor. The values are not binary: the Bernoulli's
    cross-entropy is no log-density of them, and on a background that is always 0 the
    continuous Bernoulli's has no bound. A Laplace or normal likelihood of fixed scale
    has one.

    Args:
        data_dir: As of `dsprites`, which gives the images.
        image_size: As of `dsprites`.
        max_train_examples: As of `dsprites`.
        seed: Of the colours too, which are a function of it and the official row.
        correlation: As of `dsprites`.

    Returns:
        Splits with `x` [n, 524] uint8, a packed image and three intensities, which
        `unpack` turns into float32 [n, image_size, image_size, 3] in [0, 1]; and the
        `factors` of `dsprites`.

    Raises:
        InputError: As of `dsprites`.

    Example:
        >>> train = color_dsprites(image_size=32, max_train_examples=500).train
        >>> train.data_shape, train.factor_names
        ((32, 32, 3), ('shape', 'scale', 'orientation', 'posX', 'posY'))
    """
    dataset = dsprites(data_dir, image_size, max_train_examples, seed, correlation)
    generator = seeded_generator(seed, "color_dsprites")
    colours = generator.uniform(0.5, 1.0, (NUM_IMAGES, 3)).astype(np.float32)

    def unpack(rows: tf.Tensor) -> tf.Tensor:
        pixels = unpack_pixels(rows[:, :_PACKED_BYTES])
        extra = tf.reshape(rows[:, _PACKED_BYTES:], [-1, 1, 1, 3, 4])
        return average_blocks(pixels * tf.bitcast(extra, tf.float32), image_size)

    return _extended(dataset, colours, unpack)


def noisy_dsprites(
    data_dir: str | Path | None = None,
    image_size: int = 64,
    max_train_examples: int | None = None,
    seed: int = 0,
    correlation: FactorCorrelation | None = None,
) -> Dataset:
    """Returns dSprites whose shapes are white, on coloured noise.

    Every pixel of the background has in each of three channels a number of its own,
    drawn uniformly from [0, 1). The noise is no factor. The values are not binary: the
    Bernoulli's cross-entropy is no log-density of them; that of a continuous Bernoulli,
    normal or Laplace likelihood is.

    Args:
        data_dir: As of `dsprites`, which gives the images.
        image_size: As of `dsprites`: means of blocks have less noise.
        max_train_examples: As of `dsprites`.
        seed: Of the noise too, which is a function of it and the official row.
        correlation: As of `dsprites`.

    Returns:
        Splits with `x` [n, 516] uint8, a packed image and its row, which `unpack` turns
        into float32 [n, image_size, image_size, 3] in [0, 1]; and the `factors` of
        `dsprites`.

    Raises:
        InputError: As of `dsprites`.

    Example:
        >>> train = noisy_dsprites(image_size=32, max_train_examples=500).train
        >>> train.data_shape, train.x.shape
        ((32, 32, 3), (500, 516))
    """
    dataset = dsprites(data_dir, image_size, max_train_examples, seed, correlation)
    key = int(seeded_generator(seed, "noisy_dsprites").integers(2**63))

    def unpack(rows: tf.Tensor) -> tf.Tensor:
        pixels = unpack_pixels(rows[:, :_PACKED_BYTES])
        numbers = tf.bitcast(rows[:, _PACKED_BYTES:], tf.int32)
        noise = tf.map_fn(
            functools.partial(_noise, key), numbers, fn_output_signature=tf.float32
        )
        return average_blocks(tf.maximum(pixels, noise), image_size)

    return _extended(dataset, np.arange(NUM_IMAGES, dtype=np.int32)[:, None], unpack)


def _noise(key: int, number: tf.Tensor) -> tf.Tensor:
    """Returns the noise [64, 64, 3] of the image in an official row."""
    seed = tf.stack([tf.constant(key, tf.int64), tf.cast(number, tf.int64)])
    return tf.random.stateless_uniform([SIDE, SIDE, 3], seed, alg="philox")


def _extended(
    dataset: Dataset, values: np.ndarray, unpack: Callable[[tf.Tensor], tf.Tensor]
) -> Dataset:
    """Returns the packed images with bytes of their own behind, and how both unpack.

    Args:
        dataset: Of `dsprites`.
        values: [737280, k], k numbers of four bytes for each official row.
        unpack: Of rows [batch, 512 + 4 k].
    """

    def extend(split: Split) -> Split:
        rows = np.ravel_multi_index(tuple(np.asarray(split.factors).T), FACTOR_SIZES)
        x = np.concatenate([split.x, values[rows].view(np.uint8)], axis=1)
        return split._replace(x=x, unpack=unpack)

    return Dataset(train=extend(dataset.train), test=extend(dataset.test))
