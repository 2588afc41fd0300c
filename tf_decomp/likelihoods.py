# SPDX-License-Identifier: Apache-2.0
"""Likelihoods p(x|z): heads whose event is one datum."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_positive, check_sizes
from tf_decomp.errors import InputError
from tf_decomp.heads import Head
from tf_decomp.posteriors import positive_scale
from tf_decomp.sampling import plain

_UNIT = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
_RANGES: dict[type, tuple[float, float]] = {
    tfd.Bernoulli: _UNIT,
    tfd.ContinuousBernoulli: _UNIT,
    tfd.Beta: _UNIT,
    tfd.Kumaraswamy: _UNIT,
    tfd.LogitNormal: _UNIT,
    tfd.OneHotCategorical: _UNIT,
    tfd.RelaxedBernoulli: _UNIT,
    tfd.Chi2: _POSITIVE,
    tfd.Exponential: _POSITIVE,
    tfd.Gamma: _POSITIVE,
    tfd.Geometric: _POSITIVE,
    tfd.HalfCauchy: _POSITIVE,
    tfd.HalfNormal: _POSITIVE,
    tfd.InverseGamma: _POSITIVE,
    tfd.LogNormal: _POSITIVE,
    tfd.NegativeBinomial: _POSITIVE,
    tfd.Poisson: _POSITIVE,
    tfd.Weibull: _POSITIVE,
}

_register = keras.saving.register_keras_serializable("tf_decomp")


class _Likelihood(Head):
    """A head whose event is one datum; parameters lie along the last axis."""

    def __init__(
        self, data_shape: Sequence[int], params_per_value: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        name = f"{type(self).__name__}: data_shape"
        self.data_shape = check_sizes(name, data_shape, at_least=1)
        self.params_per_value = params_per_value

    def params_size(self) -> int:
        """Number of network outputs that the head needs."""
        return self.params_per_value * math.prod(self.data_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "data_shape": list(self.data_shape)}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        *sides, last = self.data_shape
        return (*sides, last * self.params_per_value), self.data_shape

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(self._values(params), len(self.data_shape))

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


class _LocationScale(_Likelihood):
    """loc from the network; the scale too, or one fixed number."""

    def __init__(
        self, data_shape: Sequence[int], scale: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_shape, 2 if scale is None else 1, **kwargs)
        if scale is not None:
            scale = check_positive(f"{type(self).__name__}: scale", scale, self.dtype)
        self.scale = scale

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "scale": self.scale}

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        if self.scale is not None:
            return self._family(params, tf.constant(self.scale, params.dtype))
        loc, raw_scale = tf.split(params, 2, axis=-1)
        return self._family(loc, positive_scale(raw_scale))

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        raise NotImplementedError


@_register
class BernoulliLikelihood(_Likelihood):
    """Head: logits [batch, *data_shape] -> Bernoulli p(x|z).

    Grey values in [0, 1] are taken as they are: log p is then the cross-entropy.

    Args:
        data_shape: Shape of one datum.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `data_shape` is no shape, or (when called) the layer in front gives
            outputs of another shape.

    Example:
        >>> BernoulliLikelihood([32, 32, 1])(tf.zeros([5, 32, 32, 1]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 1, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Bernoulli(logits=params, dtype=params.dtype)


@_register
class NormalLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Normal p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Standard deviation; None lets the network give it.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `scale` is not positive, or as of BernoulliLikelihood.

    Example:
        >>> NormalLikelihood([2])(tf.zeros([5, 4]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Normal(loc, scale)


@_register
class LaplaceLikelihood(_LocationScale):
    """Head: loc (then raw scales, along the last axis) -> Laplace p(x|z).

    Args:
        data_shape: Shape of one datum.
        scale: Mean absolute deviation; None lets the network give it.
        **kwargs: As of NormalPosterior.

    Raises:
        InputError: `scale` is not positive, or as of BernoulliLikelihood.

    Example:
        >>> LaplaceLikelihood([32, 32, 1], scale=0.1)(tf.zeros([5, 32, 32, 1]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Laplace(loc, scale)


class Support(NamedTuple):
    """The interval of the data that a likelihood is a density or probability of.

    Attributes:
        low: The least value.
        high: The largest.
        family: The likelihood's name.
    """

    low: float
    high: float
    family: str

    @property
    def is_bounded(self) -> bool:
        """Whether there are values outside."""
        return self.low > -math.inf or self.high < math.inf

    def __str__(self) -> str:
        """Returns it as a message shows it."""
        return (
            f"[{self.low:g}, {self.high:g}], the support of the decoder's {self.family}"
        )


def support_of(likelihood: tfd.Distribution) -> Support:
    """Returns the interval that the values of a datum must lie in.

    Of distributions that TFP evaluates outside of it too; subclasses are their
    authors' own, and unbounded here.

    Args:
        likelihood: p(x|z) of any latents.
    """
    family = type(_of_values(likelihood))
    return Support(*_RANGES.get(family, (-math.inf, math.inf)), family.__name__)


def check_support(likelihood: tfd.Distribution, x: Any) -> None:
    """Refuses data outside a likelihood's support, where their values are known.

    Args:
        likelihood: p(x|z) of any latents.
        x: [..., *data_shape]; in a graph nothing is checked.

    Raises:
        InputError: A value lies outside.

    Example:
        >>> check_support(vae.decode(z), x)
    """
    support = support_of(likelihood)
    if not support.is_bounded or tf.is_symbolic_tensor(x) or not np.size(x):
        return
    least, largest = float(np.nanmin(x)), float(np.nanmax(x))
    if least < support.low or largest > support.high:
        raise InputError(
            f"x: expected numbers in {support}; received {least:.4g} to {largest:.4g}; "
            "scale the data to it, or choose a likelihood of all numbers (normal, "
            "laplace)"
        )


def likelihood_mean(likelihood: tfd.Distribution) -> tf.Tensor:
    """Returns E[x|z] [batch, *data_shape].

    Args:
        likelihood: p(x|z), batch shape [batch].

    Raises:
        InputError: It has none, or its values are numbers of classes, of which a mean
            says nothing.

    Example:
        >>> likelihood_mean(vae.decode(tf.zeros([5, 2])))
    """
    name = type(_of_values(likelihood)).__name__
    if type(_of_values(likelihood)) is not tfd.Categorical:
        with contextlib.suppress(NotImplementedError):
            return likelihood.mean()
    raise InputError(
        f"likelihood: expected one with a mean; received {name}, whose values have "
        "none that says anything; sample it (sample=True), or take decode(z) yourself"
    )


def _of_values(likelihood: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution of the values of a datum, if they are independent."""
    values = plain(likelihood)
    return plain(values.distribution) if type(values) is tfd.Independent else values
