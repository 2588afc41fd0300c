# SPDX-License-Identifier: Apache-2.0
"""Clustered and sparse priors."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import (
    check_positive,
    finite_numbers,
    positive_numbers,
    short,
)
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, check_latent_dim, diagonal_normal

# Of a sum of float32 numbers.
_ROUNDING = 1e-5


@keras.saving.register_keras_serializable("tf_decomp")
class NormalMixturePrior(Prior):
    """Mixture of isotropic normals, a clustered prior: Section 6.2.

    Args:
        locs: [num_components, latent_dim] means.
        variance: Variance of every component in every dimension.
        weights: [num_components] positive weights with sum 1; equal by default.

    Raises:
        InputError: `locs` is not a finite matrix, `variance` is not positive, or
            `weights` are not positive, not one for each component, or have another
            sum.

    Example:
        >>> NormalMixturePrior([[0, 1], [0, -1]], variance=0.03).distribution
    """

    def __init__(
        self,
        locs: Sequence[Sequence[float]],
        variance: float,
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        means = finite_numbers(locs, self.variable_dtype)
        if means is None or means.ndim != 2 or means.size == 0:
            raise InputError(
                "NormalMixturePrior: locs must be a finite matrix [num_components, "
                f"latent_dim]; received {short(locs)}"
            )
        self._config = {
            "locs": means.tolist(),
            "variance": check_positive(
                "NormalMixturePrior: variance", variance, self.variable_dtype
            ),
            "weights": self._shares(weights, len(means)),
        }

    @property
    def distribution(self) -> tfd.Distribution:
        """MixtureSameFamily whose event is the whole vector, not a dimension."""
        locs = self._constant(self._config["locs"])
        scale = tf.fill(locs.shape, self._constant(self._config["variance"] ** 0.5))
        return tfd.MixtureSameFamily(
            tfd.Categorical(probs=self._constant(self._config["weights"])),
            tfd.Independent(tfd.Normal(locs, scale), 1),
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}

    def _shares(self, weights: Any, count: int) -> list[float]:
        """Returns the weights [count], whose sum is 1 to rounding."""
        if weights is None:
            return [1 / count] * count
        shares = positive_numbers(weights, self.variable_dtype)
        if shares is None or shares.shape != (count,):
            raise InputError(
                f"NormalMixturePrior: weights must be {count} positive numbers, "
                f"one for each component; received {short(weights)}"
            )
        if abs(shares.sum() - 1) > _ROUNDING:
            raise InputError(
                f"NormalMixturePrior: weights must sum to 1; received {short(weights)} "
                f"with sum {shares.sum():g}, divide them by it"
            )
        return shares.tolist()


@keras.saving.register_keras_serializable("tf_decomp")
class SpikeAndSlabPrior(Prior):
    """prod_d (1 - gamma) N(z_d; 0, 1) + gamma N(z_d; 0, spike_variance): Section 6.3.

    Args:
        latent_dim: Number of latent dimensions.
        gamma: Weight of the spike, in [0, 1]; 0 is the standard normal.
        spike_variance: Variance (not standard deviation) of the spike.

    Raises:
        InputError: An argument is outside its range.

    Example:
        >>> SpikeAndSlabPrior(50, gamma=0.8).distribution.stddev()  # 0.4899
    """

    def __init__(
        self,
        latent_dim: int,
        gamma: float = 0.8,
        spike_variance: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        share = finite_numbers(gamma, self.variable_dtype)
        if share is None or share.ndim or not 0 <= share <= 1:
            raise InputError(
                f"SpikeAndSlabPrior: gamma must lie in [0, 1]; received {short(gamma)}"
            )
        self._config = {
            "latent_dim": check_latent_dim(self, latent_dim),
            "gamma": float(share),
            "spike_variance": check_positive(
                "SpikeAndSlabPrior: spike_variance", spike_variance, self.variable_dtype
            ),
        }

    @property
    def distribution(self) -> tfd.Distribution:
        """Independent MixtureSameFamily; a normal where one part has all the weight."""
        latent_dim, gamma = self._config["latent_dim"], self._config["gamma"]
        scales = self._constant([1.0, self._config["spike_variance"] ** 0.5])
        if gamma in (0.0, 1.0):
            return diagonal_normal(tf.fill([latent_dim], scales[int(gamma)]))
        probs = tf.tile(self._constant([[1 - gamma, gamma]]), [latent_dim, 1])
        parts = tfd.Normal(tf.zeros_like(probs), tf.tile(scales[None], [latent_dim, 1]))
        return tfd.Independent(
            tfd.MixtureSameFamily(tfd.Categorical(probs=probs), parts), 1
        )

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}
