# SPDX-License-Identifier: Apache-2.0
"""Moment matching (DIP-VAE): its formulas in NumPy, its bias, its gradients."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import FAMILIES, family_posterior
from monte_carlo import assert_gradients, assert_mean_close

from tf_decomp.divergences import dip_vae_i, dip_vae_ii
from tf_decomp.errors import InputError

tfd = tfp.distributions
RATIOS = {dip_vae_i: 10.0, dip_vae_ii: 1.0}


def by_hand(covariance: np.ndarray, ratio: float) -> float:
    """Kumar et al. 2018, over lambda_od, entry by entry."""
    dim = len(covariance)
    off = sum(covariance[i, j] ** 2 for i in range(dim) for j in range(dim) if i != j)
    return off + ratio * sum((covariance[i, i] - 1) ** 2 for i in range(dim))


@pytest.mark.parametrize("ratio", [None, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
# Of a flow no moment is known but by its quadrature.
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "flow"])
def test_formulas(family: str, dtype: str, ratio: float | None) -> None:
    posterior = family_posterior(family, dtype)
    loc, scale = FAMILIES[family].parameters
    of_means = np.cov(loc.T, bias=True)
    if scale.ndim == 3:
        within = np.mean(scale @ scale.transpose(0, 2, 1), axis=0)
    else:
        variances = np.broadcast_to(scale, loc.shape) ** 2
        within = np.diag(np.mean(variances, 0) * (2 if "laplace" in family else 1))
    for function, covariance in (
        (dip_vae_i, of_means),
        (dip_vae_ii, of_means + within),
    ):
        weights = [] if ratio is None else [ratio]
        expected = by_hand(covariance, *(weights or [RATIOS[function]]))
        got = function(posterior, *weights)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, 1e-5 if dtype == "float32" else 1e-12)


def test_numbers_worked_out_by_hand() -> None:
    # Means (1, 1) and (-1, -1): each entry of their covariance is 1.
    q = tfd.MultivariateNormalDiag([[1.0, 1.0], [-1.0, -1.0]], [[2.0, 0.0]] * 2)
    assert float(dip_vae_i(q)) == 2.0
    assert float(dip_vae_ii(q)) == 2.0 + 4.0**2
    assert float(dip_vae_ii(q, diagonal=0.5)) == 2.0 + 0.5 * 4.0**2


@pytest.mark.parametrize("function", RATIOS)
def test_bias_falls_with_the_batch(function: Any) -> None:
    # Means N(0, 1): an off-diagonal entry squared has mean (1 / B) (1 - 1 / B).
    rng, dim, size = np.random.default_rng(0), 3, 40
    draws = []
    for _ in range(4000):
        q = tfd.MultivariateNormalDiag(rng.normal(size=(size, dim)), np.zeros(dim))
        draws.append(function(q, diagonal=0.0))
    assert_mean_close(draws, dim * (dim - 1) / size * (1 - 1 / size))


@pytest.mark.parametrize("function", RATIOS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients(family: str, function: Any) -> None:
    make, parameters = FAMILIES[family]
    if function is dip_vae_i:
        assert_gradients(
            lambda loc: -1.7 * function(make(loc, parameters[1])), parameters[:1]
        )
    else:
        assert_gradients(lambda *given: -1.7 * function(make(*given)), parameters)


def test_what_cannot_be_weighed_is_refused() -> None:
    q = family_posterior("multivariate_normal_diag")
    with pytest.raises(InputError, match="dip_vae_i: diagonal must be >= 0"):
        dip_vae_i(q, diagonal=-1.0)
    flow = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros([4, 2])), tfp.bijectors.Sigmoid()
    )
    with pytest.raises(InputError, match="TransformedDistribution tells no mean"):
        dip_vae_i(flow)
