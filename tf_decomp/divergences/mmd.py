# SPDX-License-Identifier: Apache-2.0
"""Maximum mean discrepancies of q(z) and p(z): of each marginal, and of the whole."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_positive, positive_numbers, short
from tf_decomp.divergences.calling_form import in_calling_form
from tf_decomp.divergences.sets import check_sets
from tf_decomp.errors import InputError
from tf_decomp.pairwise import differentiable_once, map_rows
from tf_decomp.tracing import compiled

# Kernels are below 1e-7 there, and products of denominators stay in float32's range.
_FAR = 1e9

_MMD = (
    "the MMD must be differentiated once; received a request for a second derivative; "
    "take finite differences of the gradient"
)


def dimensionwise_mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    bandwidths: Sequence[float] = (0.2, 0.4, 1, 2, 4, 10),
) -> tf.Tensor:
    """Returns the squared MMD of marginals, summed over dimensions []: Section 6.3.

    The unbiased U-statistic, so it may be negative and is never clipped, summed over
    the dimensions d and over kernels c / (c + (x_d - y_d)^2). Its variance falls as
    1/B. A set of one element has no within-term. No unit. Memory [B, B].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        bandwidths: The constants c, positive.

    Raises:
        InputError: Shapes or types do not fit each other, the bandwidths are not
            positive, or a gradient of the result is differentiated again.

    Example:
        >>> dimensionwise_mmd(tf.random.normal([500, 4]), tf.random.normal([500, 4]))
    """
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    check_sets("dimensionwise_mmd", x, y)
    numbers = _positive("dimensionwise_mmd: bandwidths", bandwidths, x.dtype)
    return _mmd(x, y, tuple(numbers.tolist()), tf.square)


def joint_mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    variance: float = 1.0,
    scales: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 5, 10),
) -> tf.Tensor:
    """Returns the squared MMD of whole vectors []: of Tolstikhin et al. 2018.

    The unbiased U-statistic, so it may be negative and is never clipped, summed over
    inverse multiquadric kernels C / (C + |x - y|^2) with C = scale * C_0, where C_0 =
    2 latent_dim variance is the mean of |y - y'|^2 over pairs of a prior with that
    variance in each dimension. Unlike `dimensionwise_mmd` it sees dependence between
    dimensions, of few of many dimensions only faintly. No unit. Memory [B, B].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        variance: Of the prior, in one dimension, positive.
        scales: Of the kernels, positive.

    Raises:
        InputError: As of `dimensionwise_mmd`.

    Example:
        >>> joint_mmd(tf.random.normal([500, 4]), tf.random.normal([500, 4]))
    """
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    check_sets("joint_mmd", x, y)
    variance = check_positive("joint_mmd: variance", variance, x.dtype.name)
    relative = _positive("joint_mmd: scales", scales, x.dtype)
    numbers = 2 * x.shape[1] * variance * relative
    return _mmd(x, y, tuple(numbers.tolist()), _square_of_length)


dimensionwise_mmd_divergence = in_calling_form(
    dimensionwise_mmd,
    lambda posterior, prior, latents, prior_samples: dimensionwise_mmd(
        latents, prior_samples
    ),
)


joint_mmd_divergence = in_calling_form(
    joint_mmd,
    lambda posterior, prior, latents, prior_samples: joint_mmd(latents, prior_samples),
    least_batch=2,
)


def _positive(name: str, values: Sequence[float], dtype: tf.DType) -> np.ndarray:
    numbers = positive_numbers(values, dtype.name)
    if numbers is None or numbers.ndim != 1 or not numbers.size:
        raise InputError(
            f"{name} must be one or more positive numbers; received {short(values)}"
        )
    return numbers


def _square_of_length(steps: tf.Tensor) -> tf.Tensor:
    """Returns |steps|^2 [..., 1] of steps [..., latent_dim]."""
    return tf.reduce_sum(steps**2, axis=-1, keepdims=True)


def _mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    constants: tuple[float, ...],
    square: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Returns the sum of the MMDs of kernels c / (c + square(x - y)) []."""

    @tf.custom_gradient
    def mmd(x: tf.Tensor, y: tf.Tensor) -> Any:
        # The tape must not look inside: XLA's loops cannot give it what it asks for.
        fixed_x, fixed_y = tf.stop_gradient(x), tf.stop_gradient(y)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The statistic is symmetric; of a fixed prior the second is pruned.
            of_x = _mmd_gradient(fixed_x, fixed_y, constants, square)
            of_y = _mmd_gradient(fixed_y, fixed_x, constants, square)
            both = [differentiable_once(_MMD, each, [x, y]) for each in (of_x, of_y)]
            return upstream * both[0], upstream * both[1]

        return _mmd_value(fixed_x, fixed_y, constants, square), gradient

    return mmd(x, y)


@compiled
def _mmd_value(
    x: tf.Tensor,
    y: tf.Tensor,
    constants: tuple[float, ...],
    square: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    def mean_kernel(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # [latent_dim] or [1]
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            squares = tf.minimum(square(rows[:, None] - b[None]), _FAR)
            kernels = [(c, c + squares) for c in constants]
            return tf.reduce_mean(_sum_of_ratios(kernels, 3), axis=1)

        return tf.reduce_mean(map_rows(of_rows, a, tf.size(b)), axis=0)

    def within(a: tf.Tensor) -> tf.Tensor:
        # The n pairs of a point with itself have the kernel 1 and are left out.
        n = tf.cast(tf.shape(a)[0], a.dtype)
        return (n * mean_kernel(a, a) - len(constants)) / tf.maximum(n - 1, 1)

    return tf.reduce_sum(within(x) + within(y) - 2 * mean_kernel(x, y))


@compiled
def _mmd_gradient(
    x: tf.Tensor,
    y: tf.Tensor,
    constants: tuple[float, ...],
    square: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Returns d MMD / d x [B, latent_dim]."""

    def slopes(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # sum_j dk(a_i, b_j)/da_i
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            steps = b[None] - rows[:, None]
            squares = tf.minimum(square(steps), _FAR)
            slopes = [(2 * c, (c + squares) ** 2) for c in constants]
            return tf.reduce_sum(steps * _sum_of_ratios(slopes, 2), axis=1)

        return map_rows(of_rows, a, tf.size(b))

    n = tf.cast(tf.shape(x)[0], x.dtype)
    m = tf.cast(tf.shape(y)[0], x.dtype)
    within = slopes(x, x) / tf.maximum(n - 1, 1)
    return 2 / n * (within - slopes(x, y) / m)


def _sum_of_ratios(ratios: list[tuple[float, tf.Tensor]], group: int) -> tf.Tensor:
    """Returns the sum of c / d, with one division (the slow operation) a group."""
    total = tf.zeros_like(ratios[0][1])
    for start in range(0, len(ratios), group):
        numerator, denominator = tf.zeros_like(total), tf.ones_like(total)
        for c, d in ratios[start : start + group]:
            numerator, denominator = numerator * d + c * denominator, denominator * d
        total += numerator / denominator
    return total
