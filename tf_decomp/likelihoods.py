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

from tf_decomp.checks import check_positive, check_sizes, check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.heads import Head
from tf_decomp.posteriors import positive_scale
from tf_decomp.sampling import plain


class _ContinuousBernoulli(tfd.ContinuousBernoulli):
    """TFP's, with its mean written without expm1, which ONNX does not have."""

    def _mean(self, logits: tf.Tensor | None = None) -> tf.Tensor:
        logits = self._logits_parameter_no_checks() if logits is None else logits
        is_small = tf.abs(logits) < (30240 * np.finfo(logits.dtype.name).eps) ** 0.2
        other = tf.where(is_small, tf.ones_like(logits), logits)
        return 0.5 + tf.where(
            is_small,
            logits / 12 - logits**3 / 720,
            0.5 / tf.tanh(other / 2) - 1 / other,
        )


_UNIT = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
_RANGES: dict[type, tuple[float, float]] = {
    tfd.Bernoulli: _UNIT,
    tfd.ContinuousBernoulli: _UNIT,
    _ContinuousBernoulli: _UNIT,
    tfd.Beta: _UNIT,
    tfd.Kumaraswamy: _UNIT,
    tfd.LogitNormal: _UNIT,
    tfd.OneHotCategorical: _UNIT,
    tfd.RelaxedBernoulli: _UNIT,
    tfd.Chi2: _POSITIVE,
    tfd.Exponential: _POSITIVE,
    tfd.Gamma: _POSITIVE,
    tfd.Geometric: _POSITIVE,
    tfd.HalfNormal: _POSITIVE,
    tfd.InverseGamma: _POSITIVE,
    tfd.LogNormal: _POSITIVE,
    tfd.NegativeBinomial: _POSITIVE,
    tfd.Poisson: _POSITIVE,
    tfd.Weibull: _POSITIVE,
}
_OF_WHOLE_NUMBERS = (
    tfd.Categorical,
    tfd.Geometric,
    tfd.NegativeBinomial,
    tfd.Poisson,
)


class _Observed(tfd.Independent):
    """Independent values of a datum, of which those that are NaN are missing."""

    def _log_prob(self, value: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        missing = tf.math.is_nan(value)
        # 0 is in every support: a density of NaN has a NaN gradient, used or not.
        known = tf.where(missing, tf.zeros_like(value), value)
        each = self.distribution.log_prob(known, **kwargs)
        each = tf.where(missing, tf.zeros_like(each), each)
        return tf.reduce_sum(each, range(-self.event_shape.rank, 0))


_register = keras.saving.register_keras_serializable("tf_decomp")


class _Likelihood(Head):
    """A head whose event is one datum; parameters lie along the last axis."""

    def __init__(
        self,
        data_shape: Sequence[int],
        params_per_value: int,
        missing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = f"{type(self).__name__}: data_shape"
        self.data_shape = check_sizes(name, data_shape, at_least=1)
        self.params_per_value = params_per_value
        self.missing = missing

    def params_size(self) -> int:
        """Number of network outputs that the head needs."""
        return self.params_per_value * math.prod(self.data_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        arguments = {"data_shape": list(self.data_shape), "missing": self.missing}
        return {**super().get_config(), **arguments}

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        *sides, last = self.data_shape
        return (*sides, last * self.params_per_value), self.data_shape

    def _distribution(self, params: tf.Tensor) -> tfd.Distribution:
        family = _Observed if self.missing else tfd.Independent
        return family(self._values(params), len(self.data_shape))

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
        **kwargs: As of NormalPosterior; and `missing=True`, of every likelihood: a
            value that is NaN is missing, and log p(x|z) the sum over the others, which
            is their marginal.

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
        **kwargs: As of BernoulliLikelihood.

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
        **kwargs: As of BernoulliLikelihood.

    Raises:
        InputError: `scale` is not positive, or as of BernoulliLikelihood.

    Example:
        >>> LaplaceLikelihood([32, 32, 1], scale=0.1)(tf.zeros([5, 32, 32, 1]))
    """

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.Laplace(loc, scale)


@_register
class ContinuousBernoulliLikelihood(_Likelihood):
    """Head: logits [batch, *data_shape] -> continuous Bernoulli p(x|z) on [0, 1].

    A density of grey values, which the Bernoulli's cross-entropy is not
    (Loaiza-Ganem and Cunningham 2019). Of data that are 0 and 1 only it has no bound.

    Args:
        data_shape: Shape of one datum.
        **kwargs: As of BernoulliLikelihood.

    Raises:
        InputError: As of BernoulliLikelihood.

    Example:
        >>> ContinuousBernoulliLikelihood([32, 32, 1])(tf.zeros([5, 32, 32, 1]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 1, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        return _ContinuousBernoulli(logits=params, dtype=params.dtype)


@_register
class PoissonLikelihood(_Likelihood):
    """Head: logarithms of rates [batch, *data_shape] -> Poisson p(x|z) of counts.

    Args:
        data_shape: Shape of one datum.
        **kwargs: As of BernoulliLikelihood.

    Raises:
        InputError: As of BernoulliLikelihood.

    Example:
        >>> PoissonLikelihood([2000])(tf.zeros([5, 2000]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 1, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Poisson(log_rate=params)


@_register
class NegativeBinomialLikelihood(_Likelihood):
    """Head: log mu, then raw theta along the last axis -> negative binomial p(x|z).

    Of counts with mean mu and variance mu + mu^2 / theta, as is usual of single cells;
    theta = positive_scale(raw), the inverse dispersion, is the network's too. Large
    theta is the Poisson.

    Args:
        data_shape: Shape of one datum.
        **kwargs: As of BernoulliLikelihood.

    Raises:
        InputError: As of BernoulliLikelihood.

    Example:
        >>> NegativeBinomialLikelihood([2000])(tf.zeros([5, 4000]))
    """

    def __init__(self, data_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(data_shape, 2, **kwargs)

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, raw_theta = tf.split(params, 2, axis=-1)
        theta = positive_scale(raw_theta)
        return tfd.NegativeBinomial(theta, logits=log_mean - tf.math.log(theta))


@_register
class CategoricalLikelihood(_Likelihood):
    """Head: num_classes logits a value -> categorical p(x|z) of numbers of classes.

    Data are the numbers 0 to num_classes - 1, floats or integers. The network gives
    [batch, ..., last * num_classes] for data [batch, ..., last]: the logits of a
    value's classes lie side by side. A mean of such numbers says nothing:
    reconstructions are the most probable classes (`likelihood_point`).

    Args:
        data_shape: Shape of one datum.
        num_classes: How many classes a value has, >= 2.
        **kwargs: As of BernoulliLikelihood.

    Raises:
        InputError: `num_classes` is no whole number >= 2, or as of BernoulliLikelihood.

    Example:
        >>> CategoricalLikelihood([3], num_classes=4)(tf.zeros([5, 12]))
    """

    def __init__(
        self, data_shape: Sequence[int], num_classes: int, **kwargs: Any
    ) -> None:
        name = "CategoricalLikelihood: num_classes"
        super().__init__(data_shape, check_whole_number(name, num_classes, 2), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "num_classes": self.params_per_value}

    def _values(self, params: tf.Tensor) -> tfd.Distribution:
        split = [self.data_shape[-1], self.params_per_value]
        logits = tf.reshape(params, tf.concat([tf.shape(params)[:-1], split], 0))
        # What is no class has no probability: TFP would fail, or take one for it.
        return tfd.Categorical(
            logits, dtype=params.dtype, force_probs_to_zero_outside_support=True
        )


class Support(NamedTuple):
    """The values of the data that a likelihood is a density or probability of.

    Attributes:
        low: The least value.
        high: The largest.
        family: The likelihood's name.
        whole: Whether they are whole numbers.
    """

    low: float
    high: float
    family: str
    whole: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether there are values outside."""
        return self.low > -math.inf or self.high < math.inf

    def excludes(self, x: Any) -> Any:
        """Returns which values lie outside, of the shape of x; NaN does not.

        Args:
            x: A tensor or a NumPy array of any shape.
        """
        outside = (x < self.low) | (x > self.high)
        return outside | (x % 1 > 0) if self.whole else outside

    def __str__(self) -> str:
        """Returns it as a message shows it."""
        return (
            f"{'whole ' * self.whole}numbers in [{self.low:g}, {self.high:g}], the "
            f"support of the decoder's {self.family}"
        )

    @property
    def remedy(self) -> str:
        """What to do with data outside, as a message says it."""
        way = "leave counts and class numbers unscaled (images as floats)" * self.whole
        return (
            f"{way or 'scale the data to it'}, or choose a likelihood of all numbers "
            "(normal, laplace)"
        )


def support_of(likelihood: tfd.Distribution) -> Support:
    """Returns what the values of a datum must be.

    Of distributions that TFP evaluates elsewhere too; subclasses are their authors'
    own, and unbounded here.

    Args:
        likelihood: p(x|z) of any latents.
    """
    values = _of_values(likelihood)
    family = type(values)
    low, high = _RANGES.get(family, (-math.inf, math.inf))
    if family is tfd.Categorical:
        num_classes = values.logits_parameter().shape[-1]
        low, high = 0.0, math.inf if num_classes is None else float(num_classes - 1)
    name = family.__name__.removeprefix("_")
    return Support(low, high, name, family in _OF_WHOLE_NUMBERS)


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
    if not support.is_bounded or tf.is_symbolic_tensor(x):
        return
    values = np.asarray(x)
    with np.errstate(invalid="ignore"):
        outside = values[support.excludes(values)]
    if outside.size:
        raise InputError(
            f"x: expected {support}; received {outside.min():.4g} to "
            f"{outside.max():.4g} outside it; {support.remedy}"
        )


def likelihood_point(likelihood: tfd.Distribution) -> tf.Tensor:
    """Returns the datum that stands for p(x|z) [batch, *data_shape].

    Its mean E[x|z]; where values are numbers of classes, the most probable ones.

    Args:
        likelihood: p(x|z), batch shape [batch].

    Raises:
        InputError: It has no mean.

    Example:
        >>> likelihood_point(vae.decode(tf.zeros([5, 2])))
    """
    if class_probabilities(likelihood) is not None:
        return likelihood.mode()
    with contextlib.suppress(NotImplementedError):
        return likelihood.mean()
    raise InputError(
        "likelihood: expected one with a mean; received "
        f"{type(_of_values(likelihood)).__name__}, which has none; sample it "
        "(sample=True), or take decode(z) yourself"
    )


def class_probabilities(likelihood: tfd.Distribution) -> tf.Tensor | None:
    """Returns probabilities [batch, *data_shape, num_classes], of numbers of classes.

    None where the values are others.

    Args:
        likelihood: p(x|z), batch shape [batch].

    Example:
        >>> head = CategoricalLikelihood([3], num_classes=4)
        >>> class_probabilities(head(tf.zeros([5, 12]))).shape
        TensorShape([5, 3, 4])
    """
    values = _of_values(likelihood)
    return values.probs_parameter() if type(values) is tfd.Categorical else None


def leaves_missing_out(likelihood: tfd.Distribution) -> bool:
    """Whether it is of a head with `missing=True`, for which NaN is a missing value.

    Args:
        likelihood: p(x|z) of any latents.

    Example:
        >>> leaves_missing_out(NormalLikelihood([2], missing=True)(tf.zeros([5, 4])))
        True
    """
    return type(plain(likelihood)) is _Observed


def _of_values(likelihood: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution of the values of a datum, if they are independent."""
    values = plain(likelihood)
    independent = type(values) in (tfd.Independent, _Observed)
    return plain(values.distribution) if independent else values
