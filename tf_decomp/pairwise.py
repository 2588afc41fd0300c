# SPDX-License-Identifier: Apache-2.0
"""Sums over all pairs of two sets, compiled and in chunks: log q(z), and the MMD."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.sampling import location_scale, plain
from tf_decomp.tracing import compiled

# Numbers that a pairwise term holds at once: they stay in a core's cache.
_CHUNK = 2**17

# Kernels are below 1e-7 there, and products of denominators stay in float32's range.
_FAR = 1e9

# Dimensions over which a sum of log-densities is written out.
_MAX_UNROLLED = 16


def aggregate_log_prob(posterior: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Gives log q(z) = log (1/B) sum_i q(z|x_i) [S], in nats.

    Memory [S, B], never [S, B, latent_dim], in the gradient too.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        z: [S, latent_dim].

    Example:
        >>> aggregate_log_prob(vae.encode(x), tf.zeros([10, 2]))
    """
    posterior, latent_dim = plain(posterior), z.shape[-1]
    # A number, not a shape: traces for several numbers of dimensions stay apart.
    written_out = location_scale(posterior) is not None and latent_dim <= _MAX_UNROLLED
    unrolled = latent_dim if written_out else 0

    @tf.custom_gradient
    def log_aggregate(z: tf.Tensor, *params: tf.Tensor) -> Any:
        # The tape must not look inside: XLA's loops cannot give it what it asks for.
        z = tf.stop_gradient(z)
        q = _pack(posterior, [tf.stop_gradient(param) for param in params])
        log_q = _aggregate_log_prob(q, z, unrolled)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_params = _aggregate_gradient(q, z, log_q, upstream, unrolled)
            return _aggregate_score(q, z, upstream, unrolled), *of_params

        return log_q, gradient

    return log_aggregate(z, *_unpack(posterior))


def sum_of_mmds(x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]) -> tf.Tensor:
    """Gives the squared MMD between marginals, summed over dimensions [].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        bandwidths: The constants c of the kernels c / (c + (x_d - y_d)^2).
    """

    @tf.custom_gradient
    def mmd(x: tf.Tensor, y: tf.Tensor) -> Any:
        x, y = tf.stop_gradient(x), tf.stop_gradient(y)  # as in aggregate_log_prob

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The statistic is symmetric; of a fixed prior the second is pruned.
            of_x = _mmd_gradient(x, y, bandwidths)
            return upstream * of_x, upstream * _mmd_gradient(y, x, bandwidths)

        return _mmd_value(x, y, bandwidths), gradient

    return mmd(x, y)


@compiled
def _aggregate_log_prob(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    def of_rows(rows: tf.Tensor) -> tf.Tensor:
        return _log_mean(posterior, rows, unrolled)

    return _map_rows(of_rows, z, _numbers(_unpack(posterior)[0], unrolled))


@compiled
def _aggregate_score(
    posterior: tfd.Distribution, z: tf.Tensor, upstream: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Gives upstream_s * d log q(z_s) / d z_s [S, latent_dim]."""

    def score(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            log_q = _log_mean(posterior, rows, unrolled)
        return tape.gradient(log_q, rows)

    numbers = _numbers(_unpack(posterior)[0], unrolled)
    return upstream[:, None] * _map_rows(score, z, numbers)


@compiled
def _aggregate_gradient(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_q: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> list[tf.Tensor]:
    """Gives d sum_s upstream_s log q(z_s) / d parameters of each component.

    A component's share of the density at z_s, its responsibility, weighs the
    gradient of its own log-density.
    """
    log_size = _log_size(posterior)

    def of_components(rows: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            log_probs = _pair_log_probs(_pack(posterior, rows), z, unrolled)
            shares = tf.exp(log_probs - log_q[:, None] - log_size)  # [S, rows]
            total = tf.reduce_sum(
                tf.stop_gradient(upstream[:, None] * shares) * log_probs
            )
        return tape.gradient(total, rows)

    return _map_rows(of_components, _unpack(posterior), _numbers(z, unrolled))


def _log_mean(posterior: tfd.Distribution, z: tf.Tensor, unrolled: int) -> tf.Tensor:
    """Gives log (1/B) sum_i q_i(z) [S]."""
    log_probs = _pair_log_probs(posterior, z, unrolled)
    return tf.reduce_logsumexp(log_probs, axis=1) - _log_size(posterior)


def _log_size(posterior: tfd.Distribution) -> tf.Tensor:
    return tf.math.log(tf.cast(posterior.batch_shape_tensor()[0], posterior.dtype))


def _pair_log_probs(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Gives log q_i(z_s) [S, B] of z [S, latent_dim].

    The sum over few dimensions is written out, since XLA fuses it then; of many,
    compiling it takes seconds.
    """
    parts = location_scale(posterior) if unrolled else None
    if parts is None:
        return posterior.log_prob(z[:, None])
    inverse = 1 / parts.scale
    total = -tf.reduce_sum(tf.math.log(parts.scale), axis=1)[None]
    for d in range(unrolled):
        standard = (z[:, None, d] - parts.loc[None, :, d]) * inverse[None, :, d]
        total += parts.noise.log_prob(standard)
    return total


def _numbers(others: tf.Tensor, unrolled: int) -> tf.Tensor:
    """Gives the numbers that one row with all others [n, latent_dim] takes."""
    return tf.shape(others)[0] if unrolled else tf.size(others)


@compiled
def _mmd_value(x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]) -> tf.Tensor:
    def mean_kernel(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # [latent_dim]
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            squares = tf.minimum((rows[:, None] - b[None]) ** 2, _FAR)
            kernels = [(c, c + squares) for c in bandwidths]
            return tf.reduce_mean(_sum_of_ratios(kernels, 3), axis=1)

        return tf.reduce_mean(_map_rows(of_rows, a, tf.size(b)), axis=0)

    def within(a: tf.Tensor) -> tf.Tensor:
        # The n pairs of a point with itself have the kernel 1 and are left out.
        n = tf.cast(tf.shape(a)[0], a.dtype)
        return (n * mean_kernel(a, a) - len(bandwidths)) / tf.maximum(n - 1, 1)

    return tf.reduce_sum(within(x) + within(y) - 2 * mean_kernel(x, y))


@compiled
def _mmd_gradient(
    x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]
) -> tf.Tensor:
    """Gives d MMD / d x [B, latent_dim]."""

    def slopes(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:  # sum_j dk(a_i, b_j)/da_i
        def of_rows(rows: tf.Tensor) -> tf.Tensor:
            steps = b[None] - rows[:, None]
            squares = tf.minimum(steps**2, _FAR)
            slopes = [(2 * c, (c + squares) ** 2) for c in bandwidths]
            return tf.reduce_sum(steps * _sum_of_ratios(slopes, 2), axis=1)

        return _map_rows(of_rows, a, tf.size(b))

    n = tf.cast(tf.shape(x)[0], x.dtype)
    m = tf.cast(tf.shape(y)[0], x.dtype)
    within = slopes(x, x) / tf.maximum(n - 1, 1)
    return 2 / n * (within - slopes(x, y) / m)


def _sum_of_ratios(ratios: list[tuple[float, tf.Tensor]], group: int) -> tf.Tensor:
    """Gives the sum of c / d, with one division (the slow operation) a group."""
    total = tf.zeros_like(ratios[0][1])
    for start in range(0, len(ratios), group):
        numerator, denominator = tf.zeros_like(total), tf.ones_like(total)
        for c, d in ratios[start : start + group]:
            numerator, denominator = numerator * d + c * denominator, denominator * d
        total += numerator / denominator
    return total


def _unpack(distribution: tfd.Distribution) -> list[tf.Tensor]:
    return tf.nest.flatten(distribution, expand_composites=True)


def _pack(structure: tfd.Distribution, params: Sequence[tf.Tensor]) -> tfd.Distribution:
    return tf.nest.pack_sequence_as(structure, list(params), expand_composites=True)


def _map_rows(function: Callable[[Any], Any], rows: Any, numbers_a_row: Any) -> Any:
    """Gives function(rows), called on a few rows at a time.

    So many that about _CHUNK numbers are held at once: XLA for CPUs would otherwise
    hold every pair. `rows` and the result are tensors, or lists of them, [n, ...].
    """
    n = tf.shape(tf.nest.flatten(rows)[0])[0]
    most = tf.clip_by_value(_CHUNK // numbers_a_row, 1, n)
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
    return tf.nest.map_structure(join, tf.map_fn(function, chunks))
