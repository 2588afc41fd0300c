# SPDX-License-Identifier: Apache-2.0
"""Clustered and sparse priors, fixed and learnt."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import (
    check_positive,
    check_weights,
    check_whole_number,
    finite_numbers,
    positive_numbers,
    short,
)
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, check_latent_dim, diagonal_normal

# Of a sum of float32 numbers.
_ROUNDING = 1e-5


class ReparameterisedMixture(tfd.MixtureSameFamily):  # type: ignore[name-defined]
    """MixtureSameFamily that finds its samples' Jacobians only for their gradients.

    With `reparameterize=True` samples have implicit reparameterisation gradients
    (Figurnov et al., 2018) to weights and components, as TFP's, which finds Jacobians
    [n, latent_dim, latent_dim] in every draw.

    Example:
        >>> weights, parts = tfd.Categorical([0.0, 1.0]), tfd.Normal([-1.0, 1.0], 0.5)
        >>> ReparameterisedMixture(weights, parts, reparameterize=True).sample(3)
    """

    def _reparameterize_sample(self, x: tf.Tensor, event_shape: Any) -> tf.Tensor:
        own = [self.mixture_distribution, self.components_distribution]

        @tf.custom_gradient
        def sample(*parameters: tf.Tensor) -> Any:
            def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
                with tf.GradientTape() as tape:
                    tape.watch(parameters)
                    parts = tf.nest.pack_sequence_as(own, parameters, True)
                    same = tfd.MixtureSameFamily(*parts, reparameterize=True)
                    z = same._reparameterize_sample(x, event_shape)
                return tape.gradient(z, parameters, upstream)

            return tf.stop_gradient(x), gradient

        return sample(*tf.nest.flatten(own, expand_composites=True))


@keras.saving.register_keras_serializable("tf_decomp")
class NormalMixturePrior(Prior):
    """Mixture of isotropic normals, a clustered prior: Section 6.2.

    If it learns, the means, a variance for each component and dimension, and the
    weights are Keras weights that start at the given values. Its samples then carry
    implicit reparameterisation gradients (Figurnov et al., 2018) to all of them.

    Args:
        locs: [num_components, latent_dim] means.
        variance: Variance of every component in every dimension.
        weights: [num_components] positive weights with sum 1; equal by default.
        learnable: Whether means, variances and weights are learnt.

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
        learnable: bool = False,
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
            "learnable": learnable,
        }
        if learnable:
            logs = np.full(means.shape, np.log(self._config["variance"]))
            self._parameters = [
                self._learnt("locs", means),
                self._learnt("log_variances", logs),
                self._learnt("logits", np.log(self._config["weights"])),
            ]

    @property
    def distribution(self) -> tfd.Distribution:
        """MixtureSameFamily whose event is the whole vector, not a dimension."""
        if self._config["learnable"]:
            choice, normals = _parts(self._parameters)
            parts = tfd.Independent(normals, 1)
            return ReparameterisedMixture(choice, parts, reparameterize=True)
        weights, locs = self._config["weights"], self._config["locs"]
        scale = self._config["variance"] ** 0.5
        return isotropic_mixture(*map(self._constant, (weights, locs, scale)))

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
class FactorisedMixturePrior(Prior):
    """prod_d sum_k w_dk N(z_d; m_dk, s_dk^2), all learnt: each dimension has its own.

    The means start at the quantiles (k + 1/2) / num_components of the standard normal
    and the variances such that each dimension has mean 0 and variance 1, so the prior
    starts near the standard normal. Samples carry implicit reparameterisation
    gradients (Figurnov et al., 2018).

    Args:
        latent_dim: Number of latent dimensions.
        num_components: Normals of each dimension; 1 is a learnt diagonal normal.

    Raises:
        InputError: An argument is no whole number >= 1, or more than networks can
            have in memory.

    Example:
        >>> FactorisedMixturePrior(10, num_components=3).distribution.stddev()  # 1
    """

    def __init__(self, latent_dim: int, num_components: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = "FactorisedMixturePrior: num_components"
        latent_dim = check_latent_dim(self, latent_dim)
        num_components = check_whole_number(name, num_components, 1)
        check_weights(f"{name}={num_components}", 3 * latent_dim * num_components)
        self._config = {"latent_dim": latent_dim, "num_components": num_components}
        locs = scipy.special.ndtri((np.arange(num_components) + 0.5) / num_components)
        shape = (latent_dim, num_components)
        self._parameters = [
            self._learnt("locs", np.tile(locs, (latent_dim, 1))),
            self._learnt("log_variances", np.full(shape, np.log(1 - locs.var()))),
            self._learnt("logits", np.zeros(shape)),
        ]

    @property
    def distribution(self) -> tfd.Distribution:
        """Independent MixtureSameFamily, a scalar one for each dimension."""
        parts = _parts(self._parameters)
        return tfd.Independent(ReparameterisedMixture(*parts, reparameterize=True), 1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}


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


def isotropic_mixture(
    weights: tf.Tensor, locs: tf.Tensor, scale: tf.Tensor
) -> tfd.Distribution:
    """Returns a mixture of normals of one scale, whose event is the whole vector.

    Args:
        weights: [num_components], which sum to 1.
        locs: [num_components, latent_dim] means.
        scale: [] standard deviation of each in every dimension.
    """
    parts = tfd.Independent(tfd.Normal(locs, tf.fill(locs.shape, scale)), 1)
    return tfd.MixtureSameFamily(tfd.Categorical(probs=weights), parts)


def _parts(parameters: list[keras.Variable]) -> tuple[tfd.Categorical, tfd.Normal]:
    """Returns a learnt mixture's choice and normals; variables would not be found."""
    locs, log_variances, logits = (tf.identity(each.value) for each in parameters)
    return tfd.Categorical(logits), tfd.Normal(locs, tf.exp(log_variances / 2))
