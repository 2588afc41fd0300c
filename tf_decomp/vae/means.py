# SPDX-License-Identifier: Apache-2.0
"""Running means of the objective's terms, with their standard errors."""

from typing import Any

import keras
import tensorflow as tf

from tf_decomp.estimates import Estimate
from tf_decomp.objectives import ObjectiveTerms

_COLUMNS = ("loss", "elbo", "log_likelihood", "kl")
LOGS = (*_COLUMNS, "divergence")


class ObjectiveMeans(keras.metrics.Metric):
    """Means over examples of loss, elbo, log_likelihood, kl and divergence, in nats.

    Every example weighs the same, so uneven batches give the mean over the data; a
    batch's divergence weighs as many examples as it has. Sums are kept in float64.
    The divergence is NaN where it was not computed.

    Args:
        has_divergence: Whether results have the key `divergence`.
        **kwargs: Arguments of `keras.metrics.Metric`.

    Example:
        >>> means = ObjectiveMeans(has_divergence=False)
        >>> means.update_state(terms, decomposition_objective(terms, 0.0, 1.0), 0.0)
        >>> means.result()["elbo"]
    """

    def __init__(self, has_divergence: bool, **kwargs: Any) -> None:
        super().__init__(name="objective", dtype="float64", **kwargs)
        self._has_divergence = has_divergence
        shapes = {"sums": (2, len(_COLUMNS)), "count": (), "divergences": (2,)}
        for name, shape in (*shapes.items(), ("outside", ())):
            setattr(
                self, name, self.add_variable(shape, "zeros", "float64", "sum", name)
            )

    def update_state(
        self, terms: ObjectiveTerms, objective: tf.Tensor, alpha: tf.Tensor
    ) -> None:
        """Adds a batch; its divergence counts where alpha > 0 (it is else unknown).

        Args:
            terms: log_likelihood [batch], kl [batch], divergence [] or None.
            objective: L_{alpha,beta} [batch] of the terms.
            alpha: Weight of the divergence.
        """
        log_likelihood, kl, divergence = terms
        examples = tf.cast(
            tf.stack([-objective, log_likelihood - kl, log_likelihood, kl]), tf.float64
        )
        size = tf.cast(tf.shape(kl)[0], tf.float64)
        self.count.assign_add(size)
        self.sums.assign_add(tf.reduce_sum(tf.stack([examples, examples**2]), axis=2))
        if divergence is not None:
            weight = size * tf.cast(alpha > 0, tf.float64)
            value = tf.math.multiply_no_nan(tf.cast(divergence, tf.float64), weight)
            self.divergences.assign_add(tf.stack([value, weight]))

    @property
    def names(self) -> list[str]:
        """Names of the means, in their order."""
        return list(LOGS if self._has_divergence else _COLUMNS)

    def count_outside(self, number: tf.Tensor) -> None:
        """Counts examples that lie outside the likelihood's support.

        Args:
            number: [] of this replica's examples of a batch.
        """
        self.outside.assign_add(number)

    def save_own_variables(self, store: Any) -> None:
        """Saves nothing: means are of the epoch that runs."""

    def load_own_variables(self, store: Any) -> None:
        """Loads nothing."""

    def result(self) -> dict[str, tf.Tensor]:
        """Returns the means by name."""
        means = tf.unstack(self.sums.value[0] / self.count.value)
        results = dict(zip(_COLUMNS, means, strict=True))
        if self._has_divergence:
            total, weight = tf.unstack(self.divergences.value)
            results["divergence"] = total / weight
        return {name: tf.cast(value, tf.float32) for name, value in results.items()}

    def estimates(self) -> dict[str, Estimate]:
        """Returns means over examples with standard errors, but the divergence's."""
        sums, n = self.sums.numpy(), float(self.count.numpy())
        means = sums[0] / n
        variances = (
            (sums[1] / n - means**2).clip(0) / (n - 1)
            if n > 1
            else means * float("nan")
        )
        return {
            name: Estimate(float(mean), float(variance) ** 0.5, int(n))
            for name, mean, variance in zip(_COLUMNS, means, variances, strict=True)
        }
