# SPDX-License-Identifier: Apache-2.0
"""Posteriors q(z|x): heads, and their aggregate q(z)."""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.sampling import plain

# Far below the prior's scale of about 1, and float32 still resolves
# (z - loc) / scale to 1e-3 for |z| of 1.
SCALE_FLOOR = 1e-4


def positive_scale(raw: tf.Tensor) -> tf.Tensor:
    """Gives SCALE_FLOOR + softplus(raw), the one map from network outputs to scales."""
    return SCALE_FLOOR + tf.nn.softplus(raw)


class _Posterior(tfp.layers.DistributionLambda):
    """A head whose parameters [batch, 2 latent_dim] are loc and a raw scale."""

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        dtype = keras.config.dtype_policy().variable_dtype
        # The default conversion to a tensor would draw a sample at every call.
        super().__init__(
            self._distribution, tfd.Distribution.mean, **{"dtype": dtype, **kwargs}
        )
        self.latent_dim = latent_dim

    @staticmethod
    def params_size(latent_dim: int) -> int:
        """Number of network outputs that the head needs."""
        return 2 * latent_dim

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class NormalPosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> diagonal normal q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to NormalPrior is exact. Call it inside a `keras.Model`'s `call`.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: Arguments of the TFP layer; `dtype` follows Keras's policy, but is
            never below float32.

    Example:
        >>> NormalPosterior(2)(tf.zeros([5, NormalPosterior.params_size(2)]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(loc, scale)


class LaplacePosterior(_Posterior):
    """Head: parameters [batch, 2 latent_dim] -> independent Laplace q(z|x).

    Batch shape [batch], event shape [latent_dim]; as a tensor it is its mean. Its KL
    to every prior of this package is Monte Carlo.

    Args:
        latent_dim: Number of latent dimensions.
        **kwargs: As of NormalPosterior.

    Example:
        >>> LaplacePosterior(2)(tf.zeros([5, LaplacePosterior.params_size(2)]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Laplace(loc, scale), 1)


def aggregate_posterior(posterior: tfd.Distribution) -> tfd.Distribution:
    """Gives q(z) = (1/B) sum_i q(z|x_i), the batch's aggregate encoding.

    A uniform mixture with batch shape []. Its `log_prob` of [S, latent_dim] holds
    [S, B, latent_dim] numbers unless XLA compiles it.

    Args:
        posterior: Batch shape [B], event shape [latent_dim].

    Example:
        >>> aggregate_posterior(vae.encode(x)).sample(10)
    """
    parts = plain(posterior)
    weights = tfd.Categorical(logits=tf.zeros(parts.batch_shape_tensor(), parts.dtype))
    return tfd.MixtureSameFamily(weights, parts)
