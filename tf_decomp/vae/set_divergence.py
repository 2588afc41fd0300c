# SPDX-License-Identifier: Apache-2.0
"""D(q(z), p(z)) of a whole data set, as evaluation reports it, and of its batches."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.estimates import Estimate
from tf_decomp.sampling import join

_MAX_EXAMPLES = 10_000
_NUM_DRAWS = 10
_BATCH = 500
_MAX_BATCHES = 100


def first_examples(x: Any, data_shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Gives at most 10,000 examples [n, *data_shape].

    Of an array, the first of a seeded order; of a data set, the first as they come.

    Args:
        x: An array, a `tf.data.Dataset` or another iterable of batches x, (x,) or
            (x, y, ...) that can be read again.
        data_shape: Shape of one datum.
        seed: Of the order.
    """
    if hasattr(x, "shape"):
        order = np.random.default_rng(seed).permutation(len(x))[:_MAX_EXAMPLES]
        return np.asarray(x)[np.sort(order)]
    batches, count = [np.zeros([0, *data_shape], np.float32)], 0
    for batch in x:
        batches.append(np.asarray(batch[0] if isinstance(batch, tuple) else batch))
        count += len(batches[-1])
        if count >= _MAX_EXAMPLES:
            break
    return np.concatenate(batches)[:_MAX_EXAMPLES]


def divergence_of_set(
    draw: Callable[[tfd.Distribution, tf.Tensor], tf.Tensor],
    encode: Callable[[tf.Tensor], tfd.Distribution],
    x: np.ndarray,
    seed: tf.Tensor,
) -> Estimate:
    """Gives the mean of D over 10 draws of latents and prior samples.

    The standard error is over the draws, given the examples.

    Args:
        draw: Maps q(z|x) of all examples and a stateless seed to one value of D.
        encode: Maps x [batch, *data_shape] to q(z|x).
        x: [n, *data_shape].
        seed: Stateless seed [2].
    """
    starts = range(0, len(x), _BATCH)
    posterior = join([encode(tf.constant(x[i : i + _BATCH])) for i in starts])
    seeds = [tf.random.fold_in(seed, number) for number in range(_NUM_DRAWS)]
    # A compiled draw keeps one core busy; draws are independent.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        draws = [float(d) for d in pool.map(lambda s: draw(posterior, s), seeds)]
    return _mean(draws, len(x))


def divergence_of_batches(
    draw: Callable[[tfd.Distribution, tf.Tensor], tf.Tensor],
    encode: Callable[[tf.Tensor], tfd.Distribution],
    x: np.ndarray,
    batch_size: int,
    seed: tf.Tensor,
) -> Estimate:
    """Gives the mean of D over at most 100 batches, drawn from x without repetition.

    The standard error is over the batches.

    Args:
        draw: Maps q(z|x) of all examples and a stateless seed to one value of D.
        encode: Maps x [batch, *data_shape] to q(z|x).
        x: [n, *data_shape].
        batch_size: At most n.
        seed: Stateless seed [2].
    """
    rng = np.random.default_rng(np.abs(seed.numpy().astype(np.int64)))
    order = rng.permutation(len(x))
    count = min(len(x) // batch_size, _MAX_BATCHES)
    batches = order[: count * batch_size].reshape(count, batch_size)
    draws = [
        float(draw(encode(tf.constant(x[rows])), tf.random.fold_in(seed, number)))
        for number, rows in enumerate(batches)
    ]
    return _mean(draws, count * batch_size)


def _mean(draws: Sequence[float], n: int) -> Estimate:
    many = len(draws) > 1
    error = np.std(draws, ddof=1) / np.sqrt(len(draws)) if many else np.nan
    return Estimate(float(np.mean(draws)), float(error), n)
