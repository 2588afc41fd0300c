# SPDX-License-Identifier: Apache-2.0
"""The heavy-tailed prior."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_positive
from tf_decomp.priors.base import Prior, check_latent_dim, diagonal_normal


@keras.saving.register_keras_serializable("tf_decomp")
class StudentTPrior(Prior):
    """Product of Student-t(df) with location 0 and scale 1: Figure 2, right.

    Args:
        latent_dim: Number of latent dimensions.
        df: Degrees of freedom; infinity gives the standard normal.

    Raises:
        InputError: `latent_dim` is no whole number >= 1, or more than networks can
            have in memory, or `df` is not positive.

    Example:
        >>> StudentTPrior(10, df=5.0).distribution.log_prob(tf.zeros(10))
    """

    def __init__(self, latent_dim: int, df: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        latent_dim = check_latent_dim(self, latent_dim)
        # Its own limit, which no floating-point type holds as a number.
        if not (isinstance(df, float | np.floating) and df == np.inf):
            df = check_positive("StudentTPrior: df", df, self.variable_dtype)
        self._config = {"latent_dim": latent_dim, "df": float(df)}

    @property
    def distribution(self) -> tfd.Distribution:
        """Independent StudentT; at df = inf the normal (TFP's StudentT gives NaN)."""
        zeros = tf.zeros(self._config["latent_dim"], self.variable_dtype)
        if np.isinf(self._config["df"]):
            return diagonal_normal(tf.ones_like(zeros))
        df = self._constant(self._config["df"])
        return tfd.Independent(tfd.StudentT(df, zeros, tf.ones_like(zeros)), 1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}
