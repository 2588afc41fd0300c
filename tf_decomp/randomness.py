# SPDX-License-Identifier: Apache-2.0
"""Stateless seeds: all noise is a function of a base seed, a stream and a counter."""

import tensorflow as tf


def stateless_seed(seed: int | None, stream: int = 0) -> tf.Tensor | None:
    """Gives the stateless seed [2] of one stream of a base seed.

    Args:
        seed: Base seed; None stays None, with which TFP draws anew at each call.
        stream: Different streams give independent numbers.

    Example:
        >>> tfd.Normal(0.0, 1.0).sample(3, seed=stateless_seed(0))
    """
    if seed is None:
        return None
    return tf.random.fold_in(tf.constant([seed, 0], tf.int32), stream)
