# SPDX-License-Identifier: Apache-2.0
"""How sums over all pairs of two sets are computed: in chunks, differentiated once."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_decomp.devices import Device, computing_device
from tf_decomp.errors import InputError

# Numbers that a pairwise term holds at once: on a CPU they stay in a core's cache.
_CHUNK = 2**17
_MOST = 2**28  # so that int32 counts them


def numbers_at_once(device: Device) -> int:
    """Returns how many numbers a pairwise term holds at once on a device.

    With its copies and wider forms a number takes up to 64 bytes: those of a GPU take a
    sixteenth of its memory.

    Args:
        device: Of which kind, with how much memory.

    Example:
        >>> numbers_at_once(Device("CPU", 0)), numbers_at_once(Device("GPU", 2**34))
        (131072, 16777216)
    """
    if device.kind == "CPU":
        return _CHUNK
    return min(max(device.memory // 2**10, _CHUNK), _MOST)


def map_rows(
    function: Callable[[Any], Any],
    rows: Any,
    numbers_a_row: Any,
    dtype: Any = None,
) -> Any:
    """Returns function(rows), called on a few rows at a time.

    So many that about `numbers_at_once` are held: XLA for CPUs would otherwise hold
    every pair.

    Args:
        function: Takes and gives what `rows` and the result are, of fewer rows.
        rows: A tensor, or a list of them, [n, ...]; so is the result.
        numbers_a_row: How many numbers one row takes with all others.
        dtype: Of a result with another structure than `rows`, in that structure.
    """
    n = tf.shape(tf.nest.flatten(rows)[0])[0]
    chunk = numbers_at_once(computing_device())
    most = tf.clip_by_value(chunk // numbers_a_row, 1, n)
    count = (n + most - 1) // most
    size = (n + count - 1) // count  # chunks of one size, so that few rows are padding
    padded = tf.minimum(tf.range(count * size), n - 1)  # the last row again

    def cut(t: tf.Tensor) -> tf.Tensor:
        return tf.reshape(
            tf.gather(t, padded), tf.concat([[count, size], tf.shape(t)[1:]], 0)
        )

    def join(t: tf.Tensor) -> tf.Tensor:
        return tf.reshape(t, tf.concat([[count * size], tf.shape(t)[2:]], 0))[:n]

    chunks = tf.nest.map_structure(cut, rows)
    return tf.nest.map_structure(
        join, tf.map_fn(function, chunks, fn_output_signature=dtype)
    )


def differentiable_once(
    message: str, first: tf.Tensor, sources: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Returns `first`, whose derivative by any of `sources` is an error, not None.

    Args:
        message: Of the error.
        first: A first derivative, written by hand.
        sources: What it depends on.
    """

    @tf.custom_gradient
    def same(first: tf.Tensor, *sources: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            raise InputError(message)

        return tf.identity(first), gradient

    return same(first, *sources)
