# SPDX-License-Identifier: Apache-2.0
"""Whether the support of q(z) is a product: Hausdorff distances of pairs."""

import itertools

import numpy as np
import tensorflow as tf

from tf_decomp.divergences.calling_form import in_calling_form
from tf_decomp.errors import InputError
from tf_decomp.tracing import compiled


def hausdorff_support(latents: tf.Tensor) -> tf.Tensor:
    """Returns how far the support is from that of independent dimensions []: HFS.

    The sum over pairs of dimensions i < j of the Hausdorff distance between the
    points {(z_i, z_j)} and the product {z_i} x {z_j} of their marginals, Roth et al.
    2023: the largest distance from a combination of two codes' values to the nearest
    code. Frequencies do not count, so dimensions may be correlated. In units of z; of
    finitely many codes it is above 0. It falls as B grows where the support is bounded;
    of independent normal codes, whose tails no batch fills, it stays at 1.6 to 1.8 a
    pair. Memory [B, B], time latent_dim^2 B^3. Its gradient is that of the three codes
    on which the distance of a pair hangs.

    Args:
        latents: [B, latent_dim].

    Raises:
        InputError: They are no such floating-point tensor.

    Example:
        >>> hausdorff_support(tf.constant([[0.0, 0.0], [3.0, 4.0]]))  # 3.0
    """
    z = tf.convert_to_tensor(latents)
    if z.shape.rank != 2 or 0 in z.shape or not z.dtype.is_floating:
        raise InputError(
            "hausdorff_support: expected floating-point latents [B, latent_dim]; "
            f"received {z.dtype.name} {z.shape}"
        )
    pairs = np.array(list(itertools.combinations(range(z.shape[1]), 2)))
    if not len(pairs):
        return tf.zeros([], z.dtype)
    columns = tf.gather(tf.transpose(z), pairs)  # [pairs, 2, B]
    rows = _furthest(tf.stop_gradient(columns))  # [pairs, 3]
    a = tf.gather(columns[:, 0], rows[:, 0], batch_dims=1)
    b = tf.gather(columns[:, 1], rows[:, 1], batch_dims=1)
    nearest = tf.gather(columns, rows[:, 2], axis=2, batch_dims=1)  # [pairs, 2]
    squares = (a - nearest[:, 0]) ** 2 + (b - nearest[:, 1]) ** 2
    # The root has no finite gradient at 0.
    is_apart = squares > 0
    roots = tf.sqrt(tf.where(is_apart, squares, tf.ones_like(squares)))
    return tf.reduce_sum(tf.where(is_apart, roots, tf.zeros_like(roots)))


hausdorff_support_divergence = in_calling_form(
    hausdorff_support,
    lambda posterior, prior, latents, prior_samples: hausdorff_support(latents),
    least_batch=2,
)


@compiled
def _furthest(columns: tf.Tensor) -> tf.Tensor:
    """Returns the codes that the distance of each pair hangs on [pairs, 3].

    Of columns [pairs, 2, B]: whose first value, whose second value, and the code that
    is nearest to the two.
    """
    size = tf.shape(columns)[2]

    def of_pair(pair: tf.Tensor) -> tf.Tensor:
        first, second = pair[0], pair[1]

        def closer(nearest: tf.Tensor, code: tf.Tensor) -> tf.Tensor:
            squares = (first - code[0]) ** 2
            return tf.minimum(nearest, squares[:, None] + (second - code[1]) ** 2)

        far = tf.fill([size, size], pair.dtype.max)
        nearest = tf.foldl(closer, tf.transpose(pair), far)
        a = tf.argmax(tf.reduce_max(nearest, axis=1), output_type=tf.int32)
        # Not by brackets: XLA would evaluate a while it compiles, which takes a minute.
        b = tf.argmax(tf.gather(nearest, a), output_type=tf.int32)
        to_a, to_b = first - tf.gather(first, a), second - tf.gather(second, b)
        squares = to_a**2 + to_b**2
        return tf.stack([a, b, tf.argmin(squares, output_type=tf.int32)])

    return tf.map_fn(of_pair, columns, fn_output_signature=tf.int32)
