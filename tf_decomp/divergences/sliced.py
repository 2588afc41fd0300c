# SPDX-License-Identifier: Apache-2.0
"""The sliced Wasserstein distance of q(z) and p(z)."""

import functools

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_whole_number
from tf_decomp.divergences.calling_form import in_calling_form
from tf_decomp.divergences.sets import check_sets
from tf_decomp.errors import InputError

_SEED = 0  # of the directions


def sliced_wasserstein(
    x: tf.Tensor, y: tf.Tensor, num_projections: int = 50
) -> tf.Tensor:
    """Returns the squared sliced Wasserstein-2 distance []: Deshpande et al. 2018.

    The mean over directions of (1/B) sum_i (a_(i) - b_(i))^2, the sorted projections
    of x and y. Directions are whole orthonormal bases, so that two sets that differ by
    a shift m are exactly |m|^2 / latent_dim apart. They are always the same ones: D
    is a function of its arguments, the same in every step and on every replica.
    Biased upwards, for two finite sets of one distribution are apart. Its unit is that
    of z squared.

    Args:
        x: [B, latent_dim].
        y: [B, latent_dim].
        num_projections: The least number of directions.

    Raises:
        InputError: Shapes or types do not fit each other, or the number is none.

    Example:
        >>> sliced_wasserstein(tf.zeros([5, 4]), tf.ones([5, 4]))  # 1.0
    """
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    check_sets("sliced_wasserstein", x, y)
    if not x.shape.is_compatible_with(y.shape):
        raise InputError(
            "sliced_wasserstein: expected as many points in x as in y; received "
            f"{x.shape[0]} and {y.shape[0]}"
        )
    least = check_whole_number(
        "sliced_wasserstein: num_projections", num_projections, 1
    )
    directions = tf.constant(_directions(x.shape[1], least), x.dtype)
    a, b = (tf.sort(tf.matmul(directions, z, transpose_b=True)) for z in (x, y))
    return tf.reduce_mean((a - b) ** 2)


sliced_wasserstein_divergence = in_calling_form(
    sliced_wasserstein,
    lambda posterior, prior, latents, prior_samples: sliced_wasserstein(
        latents, prior_samples
    ),
)


@functools.cache
def _directions(latent_dim: int, least: int) -> np.ndarray:
    """Returns the rows of the fewest random bases that make `least` directions."""
    rng = np.random.default_rng(_SEED)
    bases = -(-least // latent_dim)
    matrices = rng.normal(size=(bases, latent_dim, latent_dim))
    return np.linalg.qr(matrices)[0].reshape(-1, latent_dim)
