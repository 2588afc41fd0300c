# SPDX-License-Identifier: Apache-2.0
"""From a split to the `tf.data.Dataset` that feeds a training loop."""

import math
import os

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_whole_number
from tf_decomp.data.dataset import Split, seeded_generator
from tf_decomp.devices import Device, computing_device
from tf_decomp.errors import InputError

# Batches that wait for the next step: at least 8, and up to 64 where these are small,
# since a step of several batches takes them all at once.
_PREFETCHED_BATCHES = (8, 64)
_PREFETCHED_NUMBERS = 2**22


def make_pipeline(
    split: Split,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int,
    first_epoch: int = 0,
    epochs: int = 1,
) -> tf.data.Dataset:
    """Returns the batches of some epochs, in an order that depends on no history.

    The order of epoch e is a function of (seed, e) alone, so a pipeline that starts
    at `first_epoch=3` continues exactly where one that started at 0 would be. For the
    same reason each pass over the returned object gives the same batches: ask for all
    epochs at once and give Keras the steps of one of them,
    `fit(make_pipeline(..., epochs=10), epochs=10, steps_per_epoch=steps)`.

    The arrays stay in memory as one tensor outside the graph, from which each step
    gathers its rows: there is nothing to cache and no limit on their size.

    Args:
        split: The data. `x` must be floating point where `unpack` is None.
        batch_size: Rows in a batch. The last one of an epoch holds what is left;
            no batch crosses the end of an epoch.
        shuffle: False keeps the order of `split.x` in every epoch.
        seed: A non-negative integer.
        first_epoch: The number of the first epoch.
        epochs: How many epochs.

    Returns:
        A data set of `x` alone, float32 [batch, ...], whose cardinality is
        epochs * ceil(n / batch_size).

    Raises:
        InputError: If batch_size is below 1 or above the number of rows, if the
            seed, first_epoch or epochs is out of range, or if `x` is not floating
            point and there is no `unpack`.

    Example:
        >>> split = Split(np.zeros((10, 2), np.float32))
        >>> batches = make_pipeline(split, 4, shuffle=True, seed=0)
        >>> [len(batch) for batch in batches]
        [4, 4, 2]
    """
    _check(split, batch_size, first_epoch, epochs)
    num_examples = len(split.x)
    steps = -(-num_examples // batch_size)
    key = int(seeded_generator(seed, "shuffle").integers(2**63))
    unpack = tf.identity if split.unpack is None else split.unpack
    threads = batches_at_once(computing_device(), len(os.sched_getaffinity(0)))
    # A tensor on a GPU would be copied to the input pipeline at every step.
    with tf.device("CPU"):
        x = tf.constant(split.x, tf.float32 if split.unpack is None else None)
        file_order = tf.range(num_examples)

    def order_of(epoch: tf.Tensor) -> tf.Tensor:
        if not shuffle:
            return file_order
        return tf.random.experimental.stateless_shuffle(
            file_order, seed=[key, epoch], alg="philox"
        )

    def fetch(rows: tf.Tensor) -> tf.Tensor:
        return unpack(tf.gather(x, rows))

    def whole(epoch: tf.Tensor) -> tf.Tensor:
        return fetch(order_of(epoch))

    def rows_of(order: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, batch = number // steps, number % steps
        if batch == 0:  # a tensor: AutoGraph makes a cond
            order = order_of(epoch)
        return order, order[batch * batch_size : (batch + 1) * batch_size]

    def step(order: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        order, rows = rows_of(order, number)
        return order, fetch(rows)

    numbers = tf.data.Dataset.range(first_epoch * steps, (first_epoch + epochs) * steps)
    waiting = _PREFETCHED_NUMBERS // (batch_size * math.prod(split.data_shape))
    if steps == 1:
        # Epochs of one batch need no order from before, and a step of theirs is short.
        batches = numbers.map(whole)
    elif threads == 1:
        batches = numbers.scan(file_order, step)
    else:
        batches = numbers.scan(file_order, rows_of).map(fetch, threads)
    batches = batches.prefetch(int(np.clip(waiting, *_PREFETCHED_BATCHES)))
    return batches.with_options(_options(threads))


def batches_at_once(device: Device, cores: int) -> int:
    """Returns how many batches a pipeline prepares at once for steps on a device.

    Args:
        device: Of which kind. A CPU's cores are left to the steps.
        cores: Of this process.
    """
    return 1 if device.kind == "CPU" else max(1, min(8, cores // 2))


def _options(threads: int) -> tf.data.Options:
    """Returns the options for a pipeline of cheap stages.

    Threads of its own wake no more of those that compute the training step.
    There is nothing to tune or fuse, and the graph rewrites would copy the data.
    """
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def _check(split: Split, batch_size: int, first_epoch: int, epochs: int) -> None:
    """Refuses arguments that make no pipeline."""
    num_examples = len(split.x)
    check_whole_number("batch_size", batch_size, 1)
    if batch_size > num_examples:
        raise InputError(
            f"batch_size must be between 1 and the number of examples, {num_examples}; "
            f"received {batch_size}"
        )
    check_whole_number("first_epoch", first_epoch, 0)
    check_whole_number("epochs", epochs, 1)
    if split.unpack is None and not np.issubdtype(split.x.dtype, np.floating):
        raise InputError(
            "x must be floating point where the split has no unpack; received "
            f"{split.x.dtype}; convert and scale it"
        )
