# SPDX-License-Identifier: Apache-2.0
"""The prior of clusters within clusters: a fixed tree of mixtures."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import (
    check_memory,
    check_positive,
    check_sizes,
    check_whole_number,
    positive_numbers,
    short,
)
from tf_decomp.errors import InputError
from tf_decomp.posteriors import check_points
from tf_decomp.priors.base import Prior, check_latent_dim
from tf_decomp.priors.mixtures import isotropic_mixture


@keras.saving.register_keras_serializable("tf_decomp")
class TreeMixturePrior(Prior):
    """(1/K) sum_k N(z; m_k, variance I) over the K leaves of a tree.

    The root lies at 0. A node of level l, counted from 0, has branching[l] children,
    evenly on a circle around it of radius radii[l] in dimensions 2l and 2l + 1 modulo
    latent_dim, the first along dimension 2l; two are a pair. In one dimension they lie
    evenly on the segment of that half-length. So levels have dimensions of their own
    while there are enough, and else clusters hold smaller ones. One level of 4 with
    radius 1 is the mixture of Section 6.2.

    Leaves come in the order of the tree: with axes `branching`, axis l says which
    branch level l took.

    Args:
        latent_dim: Number of latent dimensions.
        branching: Children of each node, level by level, each >= 2; K is the product.
        radii: Distance of the children from their parent, level by level.
        variance: Variance of every leaf in every dimension.

    Raises:
        InputError: `latent_dim` is no whole number >= 1, or more than networks can
            have in memory, `branching` is empty or has a number below 2, there are
            more leaves than memory holds, `radii` are not positive, one for each
            level, or `variance` is not positive.

    Example:
        >>> prior = TreeMixturePrior(2, [3, 2], radii=[1.0, 0.25], variance=0.004)
        >>> prior.branch_probs(prior.distribution.sample(5), level=1).shape  # [5, 3]
    """

    def __init__(
        self,
        latent_dim: int,
        branching: Sequence[int],
        radii: Sequence[float],
        variance: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        latent_dim = check_latent_dim(self, latent_dim)
        branching = _checked_branching(branching, latent_dim)
        lengths = positive_numbers(radii, self.variable_dtype)
        if lengths is None or lengths.shape != (len(branching),):
            raise InputError(
                f"TreeMixturePrior: radii must be {len(branching)} positive numbers, "
                f"one for each level of branching; received {short(radii)}"
            )
        self._config: dict[str, Any] = {
            "latent_dim": latent_dim,
            "branching": branching,
            "radii": lengths.tolist(),
            "variance": check_positive(
                "TreeMixturePrior: variance", variance, self.variable_dtype
            ),
        }
        self._locs = np.zeros([1, latent_dim])
        for level, (count, radius) in enumerate(zip(branching, lengths, strict=True)):
            offsets = radius * _directions(count, level, latent_dim)
            self._locs = (self._locs[:, None] + offsets).reshape(-1, latent_dim)

    @property
    def distribution(self) -> tfd.Distribution:
        """MixtureSameFamily of the leaves, whose event is the whole vector."""
        weights = np.full(len(self._locs), 1 / len(self._locs))
        scale = self._config["variance"] ** 0.5
        return isotropic_mixture(*map(self._constant, (weights, self._locs, scale)))

    def branch_probs(self, z: tf.Tensor, level: int) -> tf.Tensor:
        """Returns p(node | z) [..., *branching[:level]] of the nodes of a level.

        They sum to 1 over the last `level` axes, of which axis l is the branch that
        level l took.

        Args:
            z: [..., latent_dim].
            level: From 1, the clusters that hold all others, to len(branching), the
                leaves.

        Raises:
            InputError: There is no such level, or z has another shape or type.

        Example:
            >>> prior.branch_probs(vae.encode(x).mean(), level=1)
        """
        branching = self._config["branching"]
        name = "TreeMixturePrior.branch_probs: level"
        level = check_whole_number(name, level, 1, len(branching))
        p = self.distribution
        z = check_points("TreeMixturePrior.branch_probs: z", z, p)
        leaves = p.posterior_marginal(z).probs_parameter()
        nodes = tf.reshape(
            leaves, tf.concat([tf.shape(leaves)[:-1], branching[:level], [-1]], axis=0)
        )
        return tf.reduce_sum(nodes, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}


def _checked_branching(branching: Any, latent_dim: int) -> list[int]:
    """Returns the numbers of children, if memory holds the leaves."""
    name = "TreeMixturePrior: branching"
    sizes = list(check_sizes(name, branching, at_least=1))
    if min(sizes) < 2:
        raise InputError(
            f"{name} must be whole numbers >= 2, as [3, 2]; received "
            f"{short(branching)}, leave a level of one child out"
        )
    check_memory(
        16 * latent_dim * math.prod(sizes),  # as numbers and as a tensor
        f"{name}={short(sizes)} with latent_dim={latent_dim}",
        "use fewer branches",
    )
    return sizes


def _directions(count: int, level: int, latent_dim: int) -> np.ndarray:
    """Returns where children lie around their parent [count, latent_dim]."""
    places = np.zeros([count, latent_dim])
    if latent_dim == 1:
        places[:, 0] = np.linspace(1, -1, count)
        return places
    angles = 2 * np.pi * np.arange(count) / count
    places[:, 2 * level % latent_dim] = np.cos(angles)
    places[:, (2 * level + 1) % latent_dim] = np.sin(angles)
    return places
