# SPDX-License-Identifier: Apache-2.0
"""The prior of independent groups of dimensions with norms of their own."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import positive_numbers, short
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, diagonal_normal
from tf_decomp.priors.subspaces import check_dimensions


class LpNested(tfd.Distribution):
    """exp(-f(z / scale)^q / q) / Z, f(z)^q = sum_g (sum_{d in g} |z_d|^p_g)^(q / p_g).

    The L^p-nested symmetric distribution of two layers (Sinz and Bethge, 2010) whose
    f^q / q has a gamma distribution, so that groups are independent.

    Args:
        groups: Dimensions of each group; together all of 0 .. latent_dim - 1, once.
        outer_exponent: q >= 1.
        group_exponents: p_g >= 1 of each group.
        scale: Of z.
        dtype: Of its values.
        name: Of the distribution.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        outer_exponent: float,
        group_exponents: Sequence[float],
        scale: float = 1.0,
        dtype: str = "float32",
        name: str = "LpNested",
    ) -> None:
        parameters = dict(locals())
        del parameters["self"], parameters["__class__"]
        self._groups = [list(group) for group in groups]
        self._q, self._p = outer_exponent, np.array(group_exponents, float)
        self._scale = scale
        self._sizes = np.array([len(group) for group in self._groups])
        owner = np.repeat(np.arange(len(self._groups)), self._sizes)
        self._owner = owner[np.argsort(np.concatenate(self._groups))]
        super().__init__(
            dtype=tf.as_dtype(dtype),
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=False,
            parameters=parameters,
            name=name,
        )

    @property
    def log_normaliser(self) -> float:
        """The logarithm of Z: of each group its ball's volume times a radial part."""
        gammaln, n = scipy.special.gammaln, self._sizes
        volumes = n * (np.log(2) + gammaln(1 / self._p + 1)) - gammaln(n / self._p + 1)
        radial = gammaln(n / self._q + 1) + n * np.log(self._q) / self._q
        return float(np.sum(volumes + radial + n * np.log(self._scale)))

    def annealed(self, beta: float) -> "LpNested":
        """Returns the distribution whose density is proportional to p(z)^beta.

        Args:
            beta: The power, > 0.
        """
        return self.copy(scale=self._scale * beta ** (-1 / self._q))

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self, **_: Any) -> tf.Tensor:
        return tf.zeros([0], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([len(self._owner)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([len(self._owner)])

    def _mean(self) -> tf.Tensor:
        return tf.zeros([len(self._owner)], self.dtype)

    def _variance(self) -> tf.Tensor:
        # A coordinate is the radius times one of independent p-normals over their norm,
        # which is independent of that ratio.
        gammaln, n = scipy.special.gammaln, self._sizes
        radial = gammaln((n + 2) / self._q) - gammaln(n / self._q)
        radial += 2 * np.log(self._q) / self._q
        ratio = gammaln(3 / self._p) - gammaln(1 / self._p)
        ratio += gammaln(n / self._p) - gammaln((n + 2) / self._p)
        variances = self._scale**2 * np.exp(radial + ratio)
        return tf.constant(variances[self._owner], self.dtype)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        z = tf.abs(z) / self._scale
        powers = [
            _power(tf.gather(z, group, axis=-1), p, self._q)
            for group, p in zip(self._groups, self._p, strict=True)
        ]
        return -tf.add_n(powers) / self._q - self.log_normaliser

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        # In logarithms: gamma variables of small concentration are too small.
        for_parts, for_radii, for_signs = tfp.random.split_seed(seed, n=3)
        exponents = tf.constant(self._p[self._owner], self.dtype)
        one = tf.ones([], self.dtype)
        parts = tfd.ExpGamma(1 / exponents, one).sample(n, seed=for_parts)
        sums = [
            tf.reduce_logsumexp(tf.gather(parts, group, axis=1), axis=1)
            for group in self._groups
        ]
        counts = tf.constant(self._sizes / self._q, self.dtype)
        radii = tfd.ExpGamma(counts, one / self._q).sample(n, seed=for_radii) / self._q
        parts = (parts - tf.gather(tf.stack(sums, 1), self._owner, axis=1)) / exponents
        sizes = tf.exp(tf.gather(radii, self._owner, axis=1) + parts)
        signs = tfp.random.rademacher(tf.shape(sizes), self.dtype, seed=for_signs)
        return self._scale * signs * sizes


def _power(sizes: tf.Tensor, p: float, q: float) -> tf.Tensor:
    """Returns (sum_d sizes_d^p)^(q / p) [...], whose gradient at 0 is 0.

    Args:
        sizes: [..., n], >= 0.
        p: The exponent within, >= 1.
        q: That of the norm, >= 1.
    """
    largest = tf.stop_gradient(tf.reduce_max(sizes, axis=-1, keepdims=True))
    at_zero = largest < np.finfo(sizes.dtype.as_numpy_dtype).tiny
    # So scaled, no power overflows or vanishes on the way to a norm that does not.
    unit = tf.where(at_zero, tf.ones_like(largest), largest)
    total = tf.reduce_sum((sizes / unit) ** p, axis=-1, keepdims=True)
    norm = unit * tf.where(at_zero, tf.ones_like(total), total) ** (1 / p)
    return tf.where(at_zero, tf.zeros_like(norm), norm**q)[..., 0]


@keras.saving.register_keras_serializable("tf_decomp")
class LpNestedPrior(Prior):
    """prod_g exp(-|z_g|_{p_g}^q / q) / Z_g: groups of dimensions with their own norms.

    The prior of Independent Subspace Analysis (Stuehmer, Turner and Nowozin, 2019), an
    L^p-nested symmetric distribution (Sinz and Bethge, 2010). Groups are independent.
    The exponent q shapes the norm of a group, below 2 with heavier tails and more mass
    near 0 than a normal, above 2 with less; p_g shapes its directions, of which 2 has
    none, and others have the axes or the diagonals. With q = p_g = 2 it is the standard
    normal, with q = p_g a product of generalised normals (1: Laplace), and with q = 1,
    p_g = 2 the density exp(-sum_g |z_g|) of classical subspace analysis.

    Args:
        groups: Dimensions of each group, counted from 0; each dimension in one group.
        outer_exponent: q >= 1.
        group_exponents: p_g >= 1 of each group, or one for all; of a group of one
            dimension it changes nothing.

    Raises:
        InputError: The groups leave a dimension out, share one or are empty, or an
            exponent is below 1 (the density's slope at 0 would be infinite) or not
            finite.

    Example:
        >>> LpNestedPrior([(0, 1), (2,)], 1.0, 2.0).distribution.sample(5)
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        outer_exponent: float = 1.0,
        group_exponents: float | Sequence[float] = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        lists = check_dimensions(self, groups)
        outer = positive_numbers(outer_exponent, self.variable_dtype)
        if outer is None or outer.ndim or outer < 1:
            raise InputError(
                "LpNestedPrior: outer_exponent must be a finite number >= 1; received "
                f"{short(outer_exponent)}"
            )
        inner = positive_numbers(group_exponents, self.variable_dtype)
        if inner is None or inner.shape not in ((), (len(lists),)) or np.any(inner < 1):
            raise InputError(
                "LpNestedPrior: group_exponents must be a finite number >= 1, or one "
                f"for each of the {len(lists)} groups; received "
                f"{short(group_exponents)}"
            )
        self._config: dict[str, Any] = {
            "groups": lists,
            "outer_exponent": float(outer),
            "group_exponents": np.broadcast_to(inner, [len(lists)]).tolist(),
        }

    @property
    def distribution(self) -> tfd.Distribution:
        """LpNested; MultivariateNormalDiag where all exponents that count are 2."""
        groups, exponents = self._config["groups"], self._config["group_exponents"]
        counted = [p for group, p in zip(groups, exponents, strict=True) if group[1:]]
        if {self._config["outer_exponent"], *counted} == {2.0}:
            return diagonal_normal(tf.ones(sum(map(len, groups)), self.variable_dtype))
        return LpNested(**self._config, dtype=self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}
