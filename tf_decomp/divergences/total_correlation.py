# SPDX-License-Identifier: Apache-2.0
"""The total correlation of q(z), from the encodings of a minibatch."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.pairwise import differentiable_once, map_rows
from tf_decomp.posteriors import check_points
from tf_decomp.sampling import location_scale, plain
from tf_decomp.tracing import compiled

SAMPLING = ("weighted", "stratified")

_ONCE = (
    "the total correlation must be differentiated once; received a request for a "
    "second derivative; take finite differences of the gradient"
)


@keras.saving.register_keras_serializable("tf_decomp")
class TotalCorrelation:
    """KL(q(z) || prod_d q(z_d)) from a minibatch: beta-TCVAE, Chen et al. 2018.

    The mean over the batch of log q(z) - sum_d log q(z_d), in nats, with z_i from
    q(z|x_i) and each density of all N data estimated from the B of the batch:

    - "weighted": (1 / NB) sum_j q(z_i|x_j), as in that paper's main text. Every
      logarithm is log N below that of the batch's own mixture, so the value is
      (latent_dim - 1) log N above that of the batch's mixture and no estimate of
      the total correlation; its gradient is that of the batch's mixture, whatever N is.
    - "stratified": a code's own datum weighs 1/N, and the B - 1 others share the rest
      equally (the paper gives one of them another weight; this is the mean over which).
      Each density is unbiased, and with all data in the batch it is that of the
      aggregate, exactly.

    The logarithm of a density from few data is badly biased where encodings overlap
    little: docs/howto/divergence.md has it measured. Memory [B, B], of one chunk.

    Args:
        num_data: N, the number of training data.
        sampling: One of the two.

    Raises:
        InputError: `num_data` is no whole number >= 2, the sampling is not known, or
            (when called) the posterior's dimensions are not independent members of a
            location-scale family.

    Example:
        >>> DecompositionVAE(..., divergence=TotalCorrelation(len(x)), alpha=5.0)
    """

    least_batch = 2

    def __init__(self, num_data: int, sampling: str = "weighted") -> None:
        self.num_data = check_whole_number("TotalCorrelation: num_data", num_data, 2)
        if sampling not in SAMPLING:
            raise InputError(
                f"TotalCorrelation: sampling must be one of {', '.join(SAMPLING)}; "
                f"received {short(sampling)}"
            )
        self.sampling = sampling

    def __call__(
        self,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        latents: tf.Tensor,
        prior_samples: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the estimate [].

        Args:
            posterior: Batch shape [B], event shape [latent_dim].
            prior: Batch shape [], event shape [latent_dim]; unused.
            latents: [B, latent_dim], one sample of each posterior.
            prior_samples: [B, latent_dim]; unused.
        """
        q = plain(posterior)
        parts = location_scale(q)
        if parts is None:
            raise InputError(
                "TotalCorrelation: expected a posterior of independent dimensions, as "
                f"NormalPosterior or LaplacePosterior make; received a "
                f"{type(posterior).__name__}, choose another divergence"
            )
        z = check_points("TotalCorrelation: latents", latents, q, rank=2)
        weights = self._log_weights(tf.cast(tf.shape(z)[0], tf.float64))
        return _total_correlation(z, parts.loc, parts.scale, weights, parts.noise)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"num_data": self.num_data, "sampling": self.sampling}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TotalCorrelation":
        """Builds what `get_config` described."""
        return cls(**config)

    def _log_weights(self, size: tf.Tensor) -> tf.Tensor:
        """Returns the log-weights [2] of a code's own datum and of every other."""
        own = -np.log(self.num_data)
        if self.sampling == "weighted":
            return tf.stack([own - tf.math.log(size)] * 2)
        share = (self.num_data - 1) / self.num_data / tf.maximum(size - 1, 1)
        return tf.stack([tf.constant(own, tf.float64), tf.math.log(share)])


def _total_correlation(
    z: tf.Tensor,
    loc: tf.Tensor,
    scale: tf.Tensor,
    log_weights: tf.Tensor,
    noise: tfd.Distribution,
) -> tf.Tensor:
    """Returns the mean over i of log q(z_i) - sum_d log q(z_id) []."""

    @tf.custom_gradient
    def estimate(z: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor) -> Any:
        # The tape must not look inside: XLA's loops cannot give it what it asks for.
        fixed = [tf.stop_gradient(each) for each in (z, loc, scale)]
        logs = _log_aggregates(*fixed, log_weights, noise)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            of_all = _gradients(*fixed, logs, log_weights, noise)
            sources = [z, loc, scale]
            return [
                upstream * differentiable_once(_ONCE, each, sources) for each in of_all
            ]

        value = tf.reduce_mean(logs[:, 0] - tf.reduce_sum(logs[:, 1:], axis=1))
        return tf.cast(value, z.dtype), gradient

    return estimate(z, loc, scale)


@compiled
def _log_aggregates(
    z: tf.Tensor,
    loc: tf.Tensor,
    scale: tf.Tensor,
    log_weights: tf.Tensor,
    noise: tfd.Distribution,
) -> tf.Tensor:
    """Returns log q(z_i), then each log q(z_id), [B, 1 + latent_dim] in float64."""
    dtype, index = z.dtype, tf.range(tf.shape(z)[0])
    z, loc, scale = (tf.cast(each, tf.float64) for each in (z, loc, scale))

    def of_rows(parts: list[tf.Tensor]) -> tf.Tensor:
        rows, own = parts
        logs = _pair_log_probs(rows, loc, scale, noise)
        logs += _pair_weights(own, index, log_weights)
        largest = tf.reduce_max(logs, axis=1)
        # Differences need no more digits than the arguments have.
        ratios = tf.exp(tf.cast(logs - largest[:, None], dtype))
        total = tf.reduce_sum(ratios, axis=1)
        return largest + tf.math.log(tf.cast(total, tf.float64))

    numbers = tf.size(loc) + tf.shape(loc)[0]
    return map_rows(of_rows, [z, index], numbers, tf.float64)


@compiled
def _gradients(
    z: tf.Tensor,
    loc: tf.Tensor,
    scale: tf.Tensor,
    logs: tf.Tensor,
    log_weights: tf.Tensor,
    noise: tfd.Distribution,
) -> list[tf.Tensor]:
    """Returns d estimate / d z, d loc and d scale, each [B, latent_dim]."""
    size = tf.shape(z)[0]
    index, numbers = tf.range(size), tf.size(loc) + size
    # The joint density counts once, each marginal minus once.
    signs = tf.concat([[1], tf.fill([tf.shape(z)[1]], -1)], 0) / size

    def shared(rows: list[tf.Tensor], columns: list[tf.Tensor]) -> tf.Tensor:
        """Returns a sum [] that has the gradient of the estimate.

        A datum's share of a density weighs its own log-density.
        """
        z, logs, own = rows
        loc, scale, others = columns
        wide_z, *wide = (tf.cast(each, tf.float64) for each in (z, loc, scale))
        shares = _pair_log_probs(wide_z, wide[0], wide[1], noise) - logs[:, None]
        shares = tf.exp(shares + _pair_weights(own, others, log_weights))
        weights = tf.cast(signs * shares, z.dtype)
        pairs = _pair_log_probs(z, loc, scale, noise)
        return tf.reduce_sum(tf.stop_gradient(weights) * pairs)

    def of_rows(parts: list[tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(parts[0])
            total = shared(parts, [loc, scale, index])
        return tape.gradient(total, parts[0])

    def of_columns(parts: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(parts[:2])
            total = shared([z, logs, index], parts)
        return tape.gradient(total, parts[:2])

    of_z = map_rows(of_rows, [z, logs, index], numbers, z.dtype)
    return [of_z, *map_rows(of_columns, [loc, scale, index], numbers, [z.dtype] * 2)]


def _pair_log_probs(
    z: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor, noise: tfd.Distribution
) -> tf.Tensor:
    """Returns log q_j(z_i), then every log q_j(z_id) [rows, columns, 1 + d]."""
    zero = tf.zeros([], z.dtype)
    standard = (z[:, None] - loc) / scale
    each = type(noise)(zero, zero + 1).log_prob(standard) - tf.math.log(scale)
    return tf.concat([tf.reduce_sum(each, axis=2, keepdims=True), each], axis=2)


def _pair_weights(
    rows: tf.Tensor, columns: tf.Tensor, log_weights: tf.Tensor
) -> tf.Tensor:
    """Returns log-weights [rows, columns, 1] of data for codes, by their indices."""
    is_own = rows[:, None] == columns
    return tf.where(is_own, log_weights[0], log_weights[1])[..., None]
