# SPDX-License-Identifier: Apache-2.0
"""Any request to a served model: answered, with NaN for NaN, or refused in a line.

The examples are drawn from a fixed seed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import make_vae
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tf_decomp import (
    DecompositionVAE,
    InputError,
    SpikeAndSlabPrior,
    export_saved_model,
    load_encoder,
)
from tf_decomp.export import ServedModel

bounded = settings(deadline=None, derandomize=True, database=None, max_examples=150)

DTYPES = st.sampled_from(["float32", "float64", "float16", "int64", "bool"])
REJECTED = st.sampled_from(["complex64", "U3", "datetime64[s]", "object"])


class Served(NamedTuple):
    vae: DecompositionVAE
    model: ServedModel


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    path: Path = tmp_path_factory.mktemp("served") / "1"
    vae = make_vae(prior=SpikeAndSlabPrior(2))
    export_saved_model(vae, path)
    return Served(vae, load_encoder(path))


def any_array(width: int) -> st.SearchStrategy[np.ndarray]:
    """Returns arrays most of which are [n, width] numbers."""
    shapes = st.tuples(st.integers(0, 4), st.just(width))
    numbers = st.floats(-3, 3, width=16)
    odd = numbers | st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 1e-45, -0.0])
    return st.one_of(
        arrays.arrays("float32", shapes, elements=numbers),
        arrays.arrays("float32", shapes, elements=odd),
        DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, shapes)),
        arrays.arrays("float32", arrays.array_shapes(min_dims=0, max_dims=3)),
        REJECTED.flatmap(lambda dtype: st.builds(np.zeros, shapes, st.just(dtype))),
    )


def answer(call: Any, *inputs: Any) -> dict[str, np.ndarray] | None:
    """Returns what a signature gives; None where it refuses in one line."""
    try:
        return {name: value.numpy() for name, value in call(*inputs).items()}
    except InputError as error:
        message = str(error)
        assert message
        assert len(message.splitlines()) == 1
        assert len(message) < 500
        return None


def assert_rows(got: np.ndarray, expected: Any, finite: np.ndarray) -> None:
    """Rows of finite inputs are what the model gives, all others are NaN."""
    assert np.isnan(got[~finite]).all()
    np.testing.assert_allclose(got[finite], np.asarray(expected)[finite], 1e-5, 1e-6)


def as_floats(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x.astype("float32")


@bounded
@given(any_array(3))
@example(np.full([2, 3], 1e30, "float32"))
def test_any_x(served: Served, x: np.ndarray) -> None:
    parts = answer(served.model.encode, x)
    taken = x.ndim == 2 and x.shape[1] == 3 and x.dtype.kind in "fiub"
    assert (parts is not None) == taken
    if parts is not None:
        x = as_floats(x)
        posterior, finite = served.vae.encode(x), np.isfinite(x).all(1)
        assert_rows(parts["loc"], posterior.mean(), finite)
        assert_rows(parts["scale"], posterior.stddev(), finite)


@bounded
@given(any_array(2))
def test_any_z(served: Served, z: np.ndarray) -> None:
    mean = answer(served.model.decode, z)
    log_prob = answer(served.model.log_prob_prior, z)
    assert (mean is None) == (log_prob is None)
    if mean is not None and log_prob is not None:
        z = as_floats(z)
        finite = np.isfinite(z).all(1)
        assert_rows(mean["mean"], served.vae.decode(z).mean(), finite)
        prior = served.vae.prior.distribution.log_prob(z)
        has_nan = np.isnan(z).any(1)
        assert np.isnan(log_prob["log_prob"][has_nan]).all()
        np.testing.assert_allclose(log_prob["log_prob"][finite], prior[finite], 1e-5)


@bounded
@given(any_array(3), any_array(2))
def test_any_noise(served: Served, x: np.ndarray, eps: np.ndarray) -> None:
    parts = answer(served.model.encode, x)
    drawn = answer(served.model.encode_sample, x, eps)
    taken = eps.dtype.kind in "fiub" and parts is not None
    assert (drawn is not None) == (taken and eps.shape == (len(x), 2))
    if parts is not None and drawn is not None:
        expected = parts["loc"] + parts["scale"] * as_floats(eps)
        np.testing.assert_allclose(drawn["z"], expected, 1e-5, 1e-6)


@bounded
@given(
    st.integers(0, 9) | st.integers() | st.integers(-(2**31), 2**31) | st.floats(),
    st.integers(-3, 3) | st.integers(),
)
def test_any_request(served: Served, n: Any, seed: int) -> None:
    if 1_000 < n < 10**8:
        return  # near the limit it only takes memory
    for call in (served.model.sample_prior, served.model.generate):
        got = answer(call, n, seed)
        taken = isinstance(n, int) and 0 <= n <= 1_000 and -(2**31) <= seed < 2**31
        assert (got is not None) == taken
        if got is not None:
            (value,) = got.values()
            assert len(value) == n
            assert np.isfinite(value).all()
