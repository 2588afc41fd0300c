# SPDX-License-Identifier: Apache-2.0
"""The check of two sets of points that are compared."""

import tensorflow as tf

from tf_decomp.errors import InputError


def check_sets(name: str, x: tf.Tensor, y: tf.Tensor) -> None:
    """Refuses what are not two sets of points of the same space.

    Args:
        name: Of the function, for the message.
        x: [B, latent_dim].
        y: [M, latent_dim].

    Raises:
        InputError: They are something else.
    """
    are_sets = all(z.shape.rank == 2 and 0 not in z.shape for z in (x, y))
    fits = are_sets and x.shape[1:].is_compatible_with(y.shape[1:])
    if not fits or x.dtype != y.dtype or x.dtype not in (tf.float32, tf.float64):
        raise InputError(
            f"{name}: expected x [B, latent_dim] and y [M, latent_dim], both "
            f"float32 or both float64; received {x.dtype.name} {x.shape} and "
            f"{y.dtype.name} {y.shape}"
        )
