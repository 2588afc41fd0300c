# SPDX-License-Identifier: Apache-2.0
"""Likelihood heads against SciPy, and their constructor checks."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from cases import LIKELIHOODS, head_parameters

from tf_decomp.errors import InputError
from tf_decomp.likelihoods import (
    BernoulliLikelihood,
    LaplaceLikelihood,
    NormalLikelihood,
)
from tf_decomp.posteriors import SCALE_FLOOR


@pytest.mark.parametrize(
    "name", [name for name in LIKELIHOODS if name.startswith(("normal", "laplace"))]
)
def test_location_scale(name: str) -> None:
    head = LIKELIHOODS[name](dtype="float64")
    parameters = head_parameters(head, 4)
    loc, scale = parameters, head.scale
    if scale is None:
        loc, raw = np.split(parameters, 2, axis=-1)
        scale = SCALE_FLOOR + np.logaddexp(0, raw)
    x = np.random.default_rng(1).normal(size=loc.shape)
    normal = isinstance(head, NormalLikelihood)
    family = scipy.stats.norm if normal else scipy.stats.laplace
    expected = family(loc, scale).logpdf(x).reshape(4, -1).sum(1)
    likelihood = head(tf.constant(parameters))
    np.testing.assert_allclose(likelihood.log_prob(x), expected, rtol=1e-9)
    np.testing.assert_allclose(likelihood.mean(), loc)


def test_bernoulli_of_grey_values_is_the_cross_entropy() -> None:
    head = BernoulliLikelihood([3, 2], dtype="float64")
    logits = head_parameters(head, 4)
    x = np.random.default_rng(1).uniform(size=logits.shape)
    x[0], x[1] = 0, 1
    p = scipy.special.expit(logits)
    expected = (x * np.log(p) + (1 - x) * np.log(1 - p)).reshape(4, -1).sum(1)
    likelihood = head(tf.constant(logits))
    np.testing.assert_allclose(likelihood.log_prob(x), expected, rtol=1e-9)
    np.testing.assert_allclose(likelihood.mean(), p)
    assert set(np.unique(likelihood.sample(seed=[0, 1]))) == {0.0, 1.0}


def test_bernoulli_of_large_logits_is_finite() -> None:
    likelihood = BernoulliLikelihood([2])(tf.constant([[200.0, -200.0]]))
    np.testing.assert_allclose(likelihood.log_prob([[0.0, 1.0]]), [-400.0])


@pytest.mark.parametrize(
    "scale", [0.0, -1.0, float("nan"), float("inf"), 1e-60, "1", True, [1.0], 10**400]
)
@pytest.mark.parametrize("head", [NormalLikelihood, LaplaceLikelihood])
def test_bad_scale(head: Any, scale: float) -> None:
    with pytest.raises(InputError, match="scale must be > 0"):
        head([2], scale=scale)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize(
    "data_shape", [(), 3, (0,), (2, -1), (1.5,), (True,), "3", None, [[2]]]
)
def test_bad_data_shape(name: str, data_shape: Any) -> None:
    head = LIKELIHOODS[name].func
    with pytest.raises(InputError, match=f"{head.__name__}: data_shape must") as raised:
        head(data_shape, **LIKELIHOODS[name].keywords)
    assert "\n" not in str(raised.value)
