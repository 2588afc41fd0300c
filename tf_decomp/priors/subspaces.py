# SPDX-License-Identifier: Apache-2.0
"""The prior of independent groups of dimensions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_positive, check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, check_latent_dim, diagonal_normal


@keras.saving.register_keras_serializable("tf_decomp")
class IndependentSubspacesPrior(Prior):
    """prod_g t(z_g; df): groups of dimensions, independent of each other.

    Each group has a multivariate Student-t with location 0 and scale 1, whose density
    depends on the length of z_g alone. So rotations within a group change nothing, and
    rotations between groups do: Independent Subspace Analysis (Stuehmer, Turner and
    Nowozin, 2019). With groups of one dimension it is StudentTPrior.

    Args:
        groups: Dimensions of each group, counted from 0; each dimension in one group.
        df: Degrees of freedom; infinity gives the standard normal, which no rotation
            changes.

    Raises:
        InputError: The groups leave a dimension out, share one or are empty, or `df`
            is not positive.

    Example:
        >>> IndependentSubspacesPrior([(0, 1), (2,)]).distribution.sample(5)
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], df: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # Its own limit, as of StudentTPrior.
        if not (isinstance(df, float | np.floating) and df == np.inf):
            df = check_positive(
                "IndependentSubspacesPrior: df", df, self.variable_dtype
            )
        self._config: dict[str, Any] = {
            "groups": check_dimensions(self, groups),
            "df": float(df),
        }

    @property
    def distribution(self) -> tfd.Distribution:
        """Blockwise MultivariateStudentT, its dimensions in their places."""
        groups = self._config["groups"]
        places = np.argsort(np.concatenate(groups))
        if np.isinf(self._config["df"]):
            return diagonal_normal(tf.ones(len(places), self.variable_dtype))
        df, one = self._constant(self._config["df"]), self._constant(1.0)
        blocks = [
            tfd.MultivariateStudentTLinearOperator(
                df,
                tf.zeros(len(group), self.variable_dtype),
                tf.linalg.LinearOperatorScaledIdentity(len(group), one),
            )
            for group in groups
        ]
        return tfd.TransformedDistribution(tfd.Blockwise(blocks), tfb.Permute(places))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}


def check_dimensions(prior: Prior, groups: Any) -> list[list[int]]:
    """Returns groups of dimensions, if together they are the dimensions 0, 1, 2 ...

    Args:
        prior: Whose they are.
        groups: Sequences of dimensions.

    Raises:
        InputError: They leave one out, share one or are empty, or networks of so many
            do not fit the memory.
    """
    name = f"{type(prior).__name__}: "
    try:
        latent_dim = check_latent_dim(prior, sum(map(len, groups)))
        lists = [
            [check_whole_number(f"{name}a dimension", d, 0) for d in group]
            for group in groups
        ]
    except (TypeError, OverflowError):
        raise InputError(
            f"{name}groups must be sequences of dimensions, as [(0, 1), (2,)]; "
            f"received {short(groups)}"
        ) from None
    if not all(lists) or sorted(sum(lists, [])) != [*range(latent_dim)]:
        raise InputError(
            f"{name}groups must hold each of the dimensions from 0 once, and none "
            f"may be empty; received {short(groups)}"
        )
    return lists
