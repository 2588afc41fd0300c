# SPDX-License-Identifier: Apache-2.0
"""Sums over all pairs of two sets, compiled and in chunks: log q(z), and the MMD."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.sampling import location_scale, plain
from tf_decomp.tracing import compiled

# Numbers that a pairwise term holds at once: they stay in a core's cache.
_CHUNK = 2**17

# Kernels are below 1e-7 there, and products of denominators stay in float32's range.
_FAR = 1e9

# Dimensions over which a sum of log-densities is written out.
_MAX_UNROLLED = 16

_LOG_Q = (
    "log q(z), and so the inclusive KL, must be differentiated once, in reverse; "
    "received a request for a second or a forward derivative; take finite differences, "
    "or differentiate aggregate_posterior(posterior).log_prob(z)"
)
_MMD = (
    "the dimension-wise MMD must be differentiated once; received a request for a "
    "second derivative; take finite differences of the gradient"
)


def aggregate_log_prob(posterior: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Gives log q(z) = log (1/B) sum_i q(z|x_i) [S], in nats.

    Memory [S, B], never [S, B, latent_dim], in the gradient too. Log-densities are
    compared in float64, whatever the type of the arguments and of the result: narrow
    posteriors have ones of -1e6 and below, between which float32 sees no difference.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        z: [S, latent_dim].

    Raises:
        InputError: a gradient of the result is differentiated again.

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
        fixed_z = tf.stop_gradient(z)
        q = _pack(posterior, [tf.stop_gradient(param) for param in params])
        log_q = _aggregate_log_prob(q, fixed_z, unrolled)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            weights = tf.stop_gradient(upstream)
            of_z = _aggregate_score(q, fixed_z, log_q, weights, unrolled)
            of_params = _aggregate_gradient(q, fixed_z, log_q, weights, unrolled)
            sources = [upstream, z, *params]
            return [_once(_LOG_Q, each, sources) for each in [of_z, *of_params]]

        return tf.cast(log_q, z.dtype), gradient

    return log_aggregate(z, *_unpack(posterior))


def sum_of_mmds(x: tf.Tensor, y: tf.Tensor, bandwidths: tuple[float, ...]) -> tf.Tensor:
    """Gives the squared MMD between marginals, summed over dimensions [].

    Args:
        x: [B, latent_dim].
        y: [M, latent_dim].
        bandwidths: The constants c of the kernels c / (c + (x_d - y_d)^2).

    Raises:
        InputError: a gradient of the result is differentiated again.
    """

    @tf.custom_gradient
    def mmd(x: tf.Tensor, y: tf.Tensor) -> Any:
        fixed_x, fixed_y = tf.stop_gradient(x), tf.stop_gradient(y)  # as above

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The statistic is symmetric; of a fixed prior the second is pruned.
            of_x = _mmd_gradient(fixed_x, fixed_y, bandwidths)
            of_y = _mmd_gradient(fixed_y, fixed_x, bandwidths)
            of_x, of_y = _once(_MMD, of_x, [x, y]), _once(_MMD, of_y, [x, y])
            return upstream * of_x, upstream * of_y

        return _mmd_value(fixed_x, fixed_y, bandwidths), gradient

    return mmd(x, y)


def _once(message: str, first: tf.Tensor, sources: Sequence[tf.Tensor]) -> tf.Tensor:
    """Gives `first`, whose derivative by any of `sources` is an error, not None."""

    @tf.custom_gradient
    def same(first: tf.Tensor, *sources: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            raise InputError(message)

        return tf.identity(first), gradient

    return same(first, *sources)


@compiled
def _aggregate_log_prob(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Gives log q(z) [S] in float64, which tells the largest components apart."""
    wide, dtype = _widened(posterior), z.dtype

    def of_rows(rows: tf.Tensor) -> tf.Tensor:
        log_probs = _pair_log_probs(wide, rows, unrolled)
        largest = tf.reduce_max(log_probs, axis=1)
        # Differences need no more digits than the arguments have.
        ratios = tf.exp(tf.cast(log_probs - largest[:, None], dtype))
        total = tf.reduce_sum(ratios, axis=1)
        return largest + tf.math.log(tf.cast(total, tf.float64))

    numbers = _numbers(_unpack(posterior)[0], unrolled)
    return _map_rows(of_rows, tf.cast(z, tf.float64), numbers) - _log_size(posterior)


@compiled
def _aggregate_score(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_q: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> tf.Tensor:
    """Gives upstream_s * d log q(z_s) / d z_s [S, latent_dim]."""

    def score(parts: list[tf.Tensor]) -> tf.Tensor:
        rows, row_sums, weights = parts
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = _shared_log_probs(posterior, rows, row_sums, weights, unrolled)
        return tape.gradient(total, rows)

    numbers = _numbers(_unpack(posterior)[0], unrolled)
    log_sum = log_q + _log_size(posterior)
    return _map_rows(score, [z, log_sum, upstream], numbers, z.dtype)


@compiled
def _aggregate_gradient(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_q: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> list[tf.Tensor]:
    """Gives d sum_s upstream_s log q(z_s) / d parameters of each component."""
    log_sum = log_q + _log_size(posterior)

    def of_components(rows: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            q = _pack(posterior, rows)
            total = _shared_log_probs(q, z, log_sum, upstream, unrolled)
        return tape.gradient(total, rows)

    return _map_rows(of_components, _unpack(posterior), _numbers(z, unrolled))


def _shared_log_probs(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_sum: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> tf.Tensor:
    """Gives a sum [] that has the gradient of sum_s upstream_s log q(z_s).

    A component's share of the density at z_s, its responsibility, weighs its own
    log-density, which is differentiated in the arguments' type: of single
    log-densities, other than of their differences, that has digits enough.
    """
    wide = _pair_log_probs(_widened(posterior), tf.cast(z, tf.float64), unrolled)
    shares = tf.exp(tf.cast(wide - log_sum[:, None], z.dtype))  # [S, B]
    weights = tf.stop_gradient(upstream[:, None] * shares)
    return tf.reduce_sum(weights * _pair_log_probs(posterior, z, unrolled))


def _log_size(posterior: tfd.Distribution) -> tf.Tensor:
    return tf.math.log(tf.cast(posterior.batch_shape_tensor()[0], tf.float64))


def _widened(posterior: tfd.Distribution) -> tfd.Distribution:
    """Gives the posterior with its parameters in float64."""
    params = [
        tf.cast(param, tf.float64) if param.dtype.is_floating else param
        for param in _unpack(posterior)
    ]
    return _pack(posterior, params)


def _pair_log_probs(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Gives log q_i(z_s) [S, B] of z [S, latent_dim].

    The sum over few dimensions is written out, since XLA fuses it then; of many,
    compiling it takes seconds.
    """
    parts = location_scale(posterior)
    if parts is None:
        return posterior.log_prob(z[:, None])
    inverse = 1 / parts.scale
    total = -tf.reduce_sum(tf.math.log(parts.scale), axis=1)[None]
    if not unrolled:
        standard = (z[:, None] - parts.loc) * inverse
        return total + tf.reduce_sum(parts.noise.log_prob(standard), axis=2)
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


def _map_rows(
    function: Callable[[Any], Any],
    rows: Any,
    numbers_a_row: Any,
    dtype: tf.DType | None = None,
) -> Any:
    """Gives function(rows), called on a few rows at a time.

    So many that about _CHUNK numbers are held at once: XLA for CPUs would otherwise
    hold every pair. `rows` and the result are tensors, or lists of them, [n, ...]; of
    a result with another structure than `rows` give the `dtype`.
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
    return tf.nest.map_structure(
        join, tf.map_fn(function, chunks, fn_output_signature=dtype)
    )
