# SPDX-License-Identifier: Apache-2.0
"""Diagonal normal priors, fixed and learnt."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_whole_number, positive_numbers, short
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, check_latent_dim, diagonal_normal


@keras.saving.register_keras_serializable("tf_decomp")
class NormalPrior(Prior):
    """N(0, diag(variances)), fixed or learnt: Figure 2, left.

    Args:
        latent_dim: Number of latent dimensions.
        variances: [latent_dim] positive variances (the initial ones if learnt);
            all 1 by default.
        learnable: Whether the variances are weights.
        fixed_total: Whether learnt variances keep the sum latent_dim (a softmax);
            otherwise they are free.

    Raises:
        InputError: A size or a variance is not positive, the shapes differ, or
            `fixed_total` is asked of variances that are fixed or do not sum to
            latent_dim.

    Example:
        >>> NormalPrior(2, variances=[1.5, 0.5]).distribution.stddev()
    """

    def __init__(
        self,
        latent_dim: int,
        variances: Sequence[float] | np.ndarray | None = None,
        learnable: bool = False,
        fixed_total: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        latent_dim = check_latent_dim(self, latent_dim)
        values: np.ndarray | None = np.ones(latent_dim)
        if variances is not None:
            values = positive_numbers(variances, self.variable_dtype)
        if values is None or values.shape != (latent_dim,):
            raise InputError(
                f"NormalPrior: variances must be {latent_dim} positive numbers, "
                f"one for each latent dimension; received {short(variances)}"
            )
        if fixed_total and not learnable:
            raise InputError(
                "NormalPrior: fixed_total=True constrains learnt variances; "
                "received learnable=False, pass learnable=True"
            )
        if fixed_total and abs(values.mean() - 1) > 1e-4:
            raise InputError(
                f"NormalPrior: with fixed_total=True the variances must sum to "
                f"latent_dim={latent_dim}; received {values.sum():g}, rescale them"
            )
        self._config = {
            "latent_dim": latent_dim,
            "variances": values.tolist(),
            "learnable": learnable,
            "fixed_total": fixed_total,
        }
        self._log_variances = None
        if learnable:
            self._log_variances = self._learnt("log_variances", np.log(values))

    @property
    def variances(self) -> tf.Tensor:
        """[latent_dim] variances now."""
        if self._log_variances is None:
            return self._constant(self._config["variances"])
        logs = self._log_variances.value
        if self._config["fixed_total"]:
            return self._config["latent_dim"] * tf.nn.softmax(logs)
        return tf.exp(logs)

    @property
    def distribution(self) -> tfd.Distribution:
        """MultivariateNormalDiag, so that its KL from NormalPosterior is exact."""
        return diagonal_normal(tf.sqrt(self.variances))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, the variances as they were at the start."""
        return {**super().get_config(), **self._config}


def pca_variances(
    x: np.ndarray, latent_dim: int, max_examples: int = 50_000, seed: int = 0
) -> np.ndarray:
    """Returns [latent_dim] prior variances that follow the data's principal components.

    They are proportional to the largest eigenvalues of the centred data's
    covariance, with mean 1: the fixed anisotropic prior of Figure 2, left.

    Args:
        x: [n, ...] data; each datum is flattened.
        latent_dim: Number of eigenvalues.
        max_examples: A seeded subset of this size is used of larger data.
        seed: Seed of that subset.

    Raises:
        InputError: The data are no finite numbers, or have fewer than latent_dim
            directions of variation.

    Example:
        >>> pca_variances(np.random.default_rng(0).normal(size=(100, 5)), 2)
    """
    latent_dim = check_whole_number("pca_variances: latent_dim", latent_dim, 1)
    max_examples = check_whole_number("pca_variances: max_examples", max_examples, 1)
    is_array = isinstance(x, np.ndarray) and x.dtype.kind in "fiub"
    if not is_array or x.ndim < 2 or not len(x):
        raise InputError(
            "pca_variances: expected an array of numbers [n, ...], a datum a row; "
            f"received {short(x)}"
        )
    rows = x.reshape(len(x), -1)
    if len(rows) > max_examples:
        chosen = np.random.default_rng(seed).choice(
            len(rows), max_examples, replace=False
        )
        rows = rows[np.sort(chosen)]
    with np.errstate(over="ignore", invalid="ignore"):
        centred = rows.astype(np.float32) - rows.mean(0, dtype=np.float64).astype(
            np.float32
        )
        # X'X and XX' share their nonzero eigenvalues.
        wide = centred.shape[1] > len(centred)
        gram = centred @ centred.T if wide else centred.T @ centred
    if not np.all(np.isfinite(gram)):
        raise InputError(
            "pca_variances: the data must be finite, and their squares within float32; "
            "received NaN, infinite or larger numbers"
        )
    eigenvalues = np.linalg.eigvalsh(gram.astype(np.float64))[::-1][:latent_dim]
    if len(eigenvalues) < latent_dim or eigenvalues[-1] <= 1e-9 * eigenvalues[0]:
        raise InputError(
            f"pca_variances: latent_dim={latent_dim} asks for more directions than the "
            f"data of shape {list(x.shape)} vary in; use fewer"
        )
    return eigenvalues / eigenvalues.mean()
