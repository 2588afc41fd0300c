# SPDX-License-Identifier: Apache-2.0
"""Posteriors q(z|x): heads, and their aggregate q(z) with its log-density."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.flows import FlowNormal, flow_weights
from tf_decomp.heads import Head
from tf_decomp.pairwise import differentiable_once, map_rows
from tf_decomp.sampling import batch_first, location_scale, plain
from tf_decomp.tracing import compiled

_register = keras.saving.register_keras_serializable("tf_decomp")

# Far below the prior's scale of about 1, and float32 still resolves
# (z - loc) / scale to 1e-3 for |z| of 1.
SCALE_FLOOR = 1e-4

# Dimensions over which a sum of log-densities is written out.
_MAX_UNROLLED = 16

_LOG_Q = (
    "log q(z), and so the inclusive KL, must be differentiated once, in reverse; "
    "received a request for a second or a forward derivative; take finite differences, "
    "or differentiate aggregate_posterior(posterior).log_prob(z)"
)


def positive_scale(raw: tf.Tensor) -> tf.Tensor:
    """Returns SCALE_FLOOR + softplus(raw), the one map from outputs to scales."""
    return SCALE_FLOOR + tf.nn.softplus(raw)


class _Posterior(Head):
    """A head whose parameters [batch, 2 latent_dim] are loc and a raw scale."""

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_whole_number(
            f"{type(self).__name__}: latent_dim", latent_dim, 1
        )

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Number of network outputs that the head needs."""
        return 2 * check_whole_number("params_size: latent_dim", latent_dim, 1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "latent_dim": self.latent_dim}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.params_size(self.latent_dim),), (self.latent_dim,)

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


@_register
class NormalPosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> diagonal normal q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to NormalPrior is exact. The last layer of an encoder, however Keras writes it.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: Arguments of `keras.layers.Layer`; `dtype` follows Keras's policy, but
            is never below float32.

    Raises:
        InputError: `latent_dim` is no whole number >= 1, or (when called) the layer in
            front gives another number of outputs.

    Example:
        >>> units = NormalPosterior.params_size(2)
        >>> keras.Sequential([keras.layers.Dense(units), NormalPosterior(2)])
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(loc, scale)


@_register
class LaplacePosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> independent Laplace q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to every prior of this package is Monte Carlo.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: As of NormalPosterior.

    Example:
        >>> LaplacePosterior(2)(tf.zeros([5, LaplacePosterior.params_size(2)]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Laplace(loc, scale), 1)


@_register
class FullCovarianceNormalPosterior(_Posterior):
    """Head: parameters [batch, params_size(latent_dim)] -> multivariate normal q(z|x).

    loc, then the lower triangle of the covariance's Cholesky factor with a raw
    diagonal: latent_dim + latent_dim (latent_dim + 1) / 2 numbers. Batch shape
    [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL to NormalPrior
    is exact. `stddev()` are the scales of its marginals, which do not tell how far
    encodings overlap: correlated ones may be narrow across.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: As of NormalPosterior.

    Example:
        >>> units = FullCovarianceNormalPosterior.params_size(2)  # 5
        >>> FullCovarianceNormalPosterior(2)(tf.zeros([5, units])).covariance()
    """

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Number of network outputs that the head needs."""
        size = check_whole_number("params_size: latent_dim", latent_dim, 1)
        return size + size * (size + 1) // 2

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw = params[..., : self.latent_dim], params[..., self.latent_dim :]
        tril = tfp.math.fill_triangular(raw)
        diagonal = positive_scale(tf.linalg.diag_part(tril))
        return tfd.MultivariateNormalTriL(loc, tf.linalg.set_diag(tril, diagonal))


@_register
class FlowPosterior(_Posterior):
    """Head: parameters [batch, params_size(latent_dim)] -> a normalising flow q(z|x).

    z = loc + scale * T(eps): affine couplings (Dinh et al. 2017) of a standard normal,
    in which the halves of the dimensions shift and scale each other in turn. All their
    weights are outputs of the network, so that each datum has a flow of its own. Batch
    shape [batch], event shape [latent_dim]. The density of every z is exact; the KL is
    Monte Carlo. With outputs of 0 behind the first 2 latent_dim it is NormalPosterior.

    The mean, as which it is taken for a tensor, and the standard deviations have no
    closed form: they are averages over 256 fixed points of noise (or 2 latent_dim), the
    mean with an error of about 1% of a standard deviation where the flow bends gently.
    Entropy and mode are not known. The inclusive KL takes every flow at every prior
    sample, and takes about 50 times as long as of NormalPosterior on a CPU;
    divergences of samples take no longer. What moments do not tell of overlap:
    `docs/howto/overlap.md`.

    Args:
        latent_dim: Number of latent dimensions, 2 to 1000.
        num_couplings: How many couplings follow each other, at least 2, so that all
            dimensions change.
        units: Hidden units of each, with tanh.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: A number is out of range, or as of NormalPosterior.

    Example:
        >>> units = FlowPosterior.params_size(2, num_couplings=2)  # 68
        >>> q = FlowPosterior(2, num_couplings=2)(tf.zeros([5, units]))
        >>> q.log_prob(q.sample())
    """

    def __init__(
        self, latent_dim: int, num_couplings: int = 4, units: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.num_couplings, self.units = num_couplings, units
        self.params_size(latent_dim, num_couplings, units)  # refuses what is no number

    @staticmethod
    def params_size(latent_dim: int, num_couplings: int = 4, units: int = 8) -> int:
        """Number of network outputs that the head needs."""
        check_whole_number("FlowPosterior: latent_dim", latent_dim, 2, 1000)
        check_whole_number("FlowPosterior: num_couplings", num_couplings, 2, 1000)
        check_whole_number("FlowPosterior: units", units, 1, 10_000)
        return 2 * latent_dim + flow_weights(latent_dim, num_couplings, units)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        settings = {"num_couplings": self.num_couplings, "units": self.units}
        return {**super().get_config(), **settings}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        size = self.params_size(self.latent_dim, self.num_couplings, self.units)
        return (size,), (self.latent_dim,)

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        sizes = [self.latent_dim, self.latent_dim, -1]
        loc, raw_scale, weights = tf.split(params, sizes, axis=-1)
        scale = positive_scale(raw_scale)
        return FlowNormal(loc, scale, weights, self.num_couplings, self.units)


def aggregate_posterior(posterior: tfd.Distribution) -> tfd.Distribution:
    """Returns q(z) = (1/B) sum_i q(z|x_i), the batch's aggregate encoding.

    A uniform mixture with batch shape []. Its `log_prob` of [S, latent_dim] holds
    [S, B, latent_dim] numbers unless XLA compiles it; `aggregate_log_prob` does not.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].

    Example:
        >>> aggregate_posterior(vae.encode(x)).sample(10)
    """
    parts = plain(posterior)
    weights = tfd.Categorical(logits=tf.zeros(parts.batch_shape_tensor(), parts.dtype))
    return tfd.MixtureSameFamily(weights, parts)


def aggregate_log_prob(posterior: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """Returns log q(z) = log (1/B) sum_i q(z|x_i) [S], in nats.

    Memory [S, B], never [S, B, latent_dim], in the gradient too. Log-densities are
    compared in float64, whatever the type of the arguments and of the result: narrow
    posteriors have ones of -1e6 and below, between which float32 sees no difference.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].
        z: [S, latent_dim].

    Raises:
        InputError: z is of another shape or type, TensorFlow does not know the
            posterior's parameters, or a gradient of the result is differentiated
            again.

    Example:
        >>> aggregate_log_prob(vae.encode(x), tf.zeros([10, 2]))
    """
    posterior = batch_first(plain(posterior))
    z = check_points("aggregate_log_prob: z", z, posterior, rank=2)
    latent_dim = z.shape[-1]
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
            return [
                differentiable_once(_LOG_Q, each, sources)
                for each in [of_z, *of_params]
            ]

        return tf.cast(log_q, z.dtype), gradient

    return log_aggregate(z, *_unpack(posterior))


def check_points(
    name: str,
    points: tf.Tensor,
    distribution: tfd.Distribution,
    rank: int | None = None,
) -> tf.Tensor:
    """Returns points as a tensor, if they are values of a distribution.

    Args:
        name: What they are, for the message.
        points: [..., latent_dim].
        distribution: Event shape [latent_dim].
        rank: Number of axes; None for any.

    Raises:
        InputError: They have another shape or type.

    Example:
        >>> check_points("z", tf.zeros([5, 2]), NormalPrior(2).distribution, rank=2)
    """
    points = tf.convert_to_tensor(points)
    event, dtype = distribution.event_shape, distribution.dtype
    leading = [None] * ((rank or points.shape.rank or 1) - 1)
    wanted = tf.TensorShape(leading).concatenate(event)
    if points.dtype != dtype or not points.shape.is_compatible_with(wanted):
        raise InputError(
            f"{name}: expected {dtype.name} of shape {wanted}, as its "
            f"distribution; received {points.dtype.name} of shape {points.shape}"
        )
    return points


@compiled
def _aggregate_log_prob(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Returns log q(z) [S] in float64, which tells the largest components apart."""
    wide, dtype = _widened(posterior), z.dtype

    def of_rows(rows: tf.Tensor) -> tf.Tensor:
        log_probs = _pair_log_probs(wide, rows, unrolled)
        largest = tf.reduce_max(log_probs, axis=1)
        # Differences need no more digits than the arguments have.
        ratios = tf.exp(tf.cast(log_probs - largest[:, None], dtype))
        total = tf.reduce_sum(ratios, axis=1)
        return largest + tf.math.log(tf.cast(total, tf.float64))

    numbers = _numbers(_unpack(posterior)[0], unrolled)
    return map_rows(of_rows, tf.cast(z, tf.float64), numbers) - _log_size(posterior)


@compiled
def _aggregate_score(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_q: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> tf.Tensor:
    """Returns upstream_s * d log q(z_s) / d z_s [S, latent_dim]."""

    def score(parts: list[tf.Tensor]) -> tf.Tensor:
        rows, row_sums, weights = parts
        with tf.GradientTape() as tape:
            tape.watch(rows)
            total = _shared_log_probs(posterior, rows, row_sums, weights, unrolled)
        return tape.gradient(total, rows)

    numbers = _numbers(_unpack(posterior)[0], unrolled)
    log_sum = log_q + _log_size(posterior)
    return map_rows(score, [z, log_sum, upstream], numbers, z.dtype)


@compiled
def _aggregate_gradient(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_q: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> list[tf.Tensor]:
    """Returns d sum_s upstream_s log q(z_s) / d parameters of each component."""
    log_sum = log_q + _log_size(posterior)

    def of_components(rows: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(rows)
            q = _pack(posterior, rows)
            total = _shared_log_probs(q, z, log_sum, upstream, unrolled)
        return tape.gradient(total, rows)

    return map_rows(of_components, _unpack(posterior), _numbers(z, unrolled))


def _shared_log_probs(
    posterior: tfd.Distribution,
    z: tf.Tensor,
    log_sum: tf.Tensor,
    upstream: tf.Tensor,
    unrolled: int,
) -> tf.Tensor:
    """Returns a sum [] that has the gradient of sum_s upstream_s log q(z_s).

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
    """Returns the posterior with its parameters in float64."""
    params = [
        tf.cast(param, tf.float64) if param.dtype.is_floating else param
        for param in _unpack(posterior)
    ]
    return _pack(posterior, params)


def _pair_log_probs(
    posterior: tfd.Distribution, z: tf.Tensor, unrolled: int
) -> tf.Tensor:
    """Returns log q_i(z_s) [S, B] of z [S, latent_dim].

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
    """Returns the numbers that one row with all others [n, latent_dim] takes."""
    return tf.shape(others)[0] if unrolled else tf.size(others)


def _unpack(distribution: tfd.Distribution) -> list[tf.Tensor]:
    return tf.nest.flatten(distribution, expand_composites=True)


def _pack(structure: tfd.Distribution, params: Sequence[tf.Tensor]) -> tfd.Distribution:
    return tf.nest.pack_sequence_as(structure, list(params), expand_composites=True)
