# SPDX-License-Identifier: Apache-2.0
"""Whatever priors, heads and networks are given, they are made or say why not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tf_decomp.checks import check_whole_number, finite_numbers
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import NormalLikelihood
from tf_decomp.networks import ConvDecoder, MLPDecoder, MLPEncoder
from tf_decomp.posteriors import NormalPosterior
from tf_decomp.priors import (
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
)

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(deadline=None, max_examples=60, derandomize=True)

NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.integers(),
    st.floats(),
    st.floats(0.01, 10),
    st.sampled_from([np.float32(0.5), np.int64(3), np.nan, np.inf, 10**400, 2**31]),
)
ODD = st.one_of(
    NUMBERS, st.booleans(), st.none(), st.text(max_size=3), st.complex_numbers()
)
LISTS = st.one_of(
    ODD,
    st.lists(ODD, max_size=4),
    st.lists(NUMBERS, min_size=2, max_size=2),
    st.lists(st.floats(0.01, 3), min_size=2, max_size=2),
)
MATRICES = st.one_of(LISTS, st.lists(LISTS, max_size=3))


def made(make: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what is made; None where one line says why it is not."""
    try:
        return make(*arguments)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 400
    return None


def check_prior(prior: Prior | None) -> None:
    if prior is None or prior.latent_dim > 1000:
        return
    z = prior.distribution.sample(3, seed=[0, 1])
    assert z.shape == [3, prior.latent_dim]
    assert np.all(np.isfinite(z))
    # Of samples of very narrow densities float32 has too few digits.
    assert not np.any(np.isnan(prior.distribution.log_prob(z)))
    again = type(prior).from_config(prior.get_config())
    np.testing.assert_array_equal(
        again.distribution.log_prob(z), prior.distribution.log_prob(z)
    )


@SETTINGS
@hypothesis.given(LISTS, MATRICES, st.booleans())
def test_normal_priors(latent_dim: Any, variances: Any, learnable: bool) -> None:
    check_prior(made(NormalPrior, latent_dim, None))
    check_prior(made(NormalPrior, 2, variances, learnable))


@SETTINGS
@hypothesis.given(LISTS, MATRICES)
def test_student_t_priors(latent_dim: Any, df: Any) -> None:
    check_prior(made(StudentTPrior, latent_dim, 5.0))
    prior = made(StudentTPrior, 2, df)
    if prior is not None:
        # A small df has samples beyond every number.
        density = prior.distribution.log_prob(tf.zeros(2))
        assert not np.any(np.isnan(density))


@SETTINGS
@hypothesis.given(LISTS, LISTS)
def test_sparse_priors(gamma: Any, variance: Any) -> None:
    check_prior(made(SpikeAndSlabPrior, 2, gamma))
    check_prior(made(SpikeAndSlabPrior, 2, 0.5, variance))


@SETTINGS
@hypothesis.given(MATRICES, LISTS, MATRICES)
def test_mixture_priors(locs: Any, variance: Any, weights: Any) -> None:
    check_prior(made(NormalMixturePrior, locs, 1.0))
    check_prior(made(NormalMixturePrior, [[0.0, 1.0], [1.0, 0.0]], variance))
    prior = made(NormalMixturePrior, [[0.0, 1.0], [1.0, 0.0]], 0.5, weights)
    check_prior(prior)
    if prior is not None and weights is not None:
        assert np.sum(np.array(weights, float)) == pytest.approx(1, abs=1e-5)


@SETTINGS
@hypothesis.given(LISTS, MATRICES)
def test_networks_and_heads(size: Any, sizes: Any) -> None:
    for make, *arguments in (
        (MLPEncoder, size, (2,)),
        (MLPEncoder, 2, sizes),
        (MLPDecoder, size, (2,)),
        (MLPDecoder, 2, sizes),
        (ConvDecoder, sizes),
        (ConvDecoder, (8, 8, 1), sizes),
        (NormalPosterior, size),
        (NormalLikelihood, sizes),
        (NormalLikelihood, [2], size),
    ):
        made(make, *arguments)


@SETTINGS
@hypothesis.given(MATRICES)
def test_what_counts_as_numbers(values: Any) -> None:
    numbers = finite_numbers(values, "float32")
    assert numbers is None or np.all(np.isfinite(numbers.astype(np.float32)))
    size = made(check_whole_number, "size", values, 1)
    assert size is None or (size == values and size >= 1)
