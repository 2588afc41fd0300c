# SPDX-License-Identifier: Apache-2.0
"""Several steps in one call of XLA: the same steps, however the batches come."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from cases import PRIORS, data, make_vae

import tf_decomp
from tf_decomp.errors import InputError
from tf_decomp.vae.steps import several_steps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

X = data(20)
RAGGED = (8, 8, 4, 4, 4, 2, 8)


def ragged() -> tf.data.Dataset:
    """Returns batches of several sizes, whose labels no step uses."""
    rows = tf.constant(np.concatenate([X, X]))
    starts = np.cumsum([0, *RAGGED[:-1]])

    def cut(start: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rows[start : start + size], tf.zeros([size])

    return tf.data.Dataset.from_tensor_slices((starts, np.array(RAGGED))).map(cut)


def trained(batches: tf.data.Dataset, steps: int, **kwargs: Any) -> tuple[Any, Any]:
    vae = make_vae(divergence="inclusive_kl", alpha=2.0)
    vae.compile("adam", jit_compile=True, steps_per_execution=steps)
    history = vae.fit(batches, epochs=2, shuffle=False, verbose=0, **kwargs).history
    return vae, history


@pytest.fixture(scope="module")
def one_by_one() -> tuple[Any, Any]:
    return trained(ragged(), 1)


@pytest.mark.parametrize(
    "steps",
    [5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (2, 50))],
)
def test_steps_take_the_same_steps(steps: int, one_by_one: tuple[Any, Any]) -> None:
    one, history = one_by_one
    several, its_history = trained(ragged(), steps)
    assert int(several.train_batches.value) == 2 * len(RAGGED)
    for ours, theirs in zip(several.weights, one.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    for name, values in history.items():
        np.testing.assert_allclose(its_history[name], values, rtol=1e-5)


@pytest.mark.parametrize("name", ["normal_mixture_learnt", "flow", "normal_learnt"])
def test_xla_compiles_where_a_learnt_prior_is_not_sampled(name: str) -> None:
    """Or of a location-scale family, whose noise is drawn outside."""
    make_vae(PRIORS[name]()).compile("sgd", jit_compile=True)
    sampling = make_vae(PRIORS[name](), divergence="inclusive_kl", alpha=1.0)
    if name == "normal_learnt":
        sampling.compile("sgd", jit_compile=True)
        return
    with pytest.raises(InputError, match="or learnt prior outside the location-scale"):
        sampling.compile("sgd", jit_compile=True)


@pytest.mark.slow
def test_alpha_of_a_call_is_the_one_at_its_start() -> None:
    vae = make_vae(divergence="inclusive_kl", alpha=0.0)
    vae.compile("adam", jit_compile=True, steps_per_execution=5)
    history = vae.fit(X, batch_size=4, shuffle=False, verbose=0).history
    assert np.isnan(history["divergence"][0])
    vae.alpha.assign(1.0)
    history = vae.fit(X, batch_size=4, shuffle=False, verbose=0).history
    assert np.isfinite(history["divergence"][0])


def test_an_epoch_takes_no_batch_of_the_next() -> None:
    taken: list[int] = []

    def note(number: np.int64) -> np.int64:
        taken.append(int(number))
        return number

    def batch(number: tf.Tensor) -> tf.Tensor:
        tf.numpy_function(note, [number], tf.int64)
        return tf.constant(X[:4])

    options = tf.data.Options()
    options.autotune.enabled = False
    batches = tf.data.Dataset.range(100).map(batch, num_parallel_calls=1)
    vae = make_vae(divergence=None)
    vae.compile("adam", jit_compile=True, steps_per_execution=3)
    vae.fit(
        batches.with_options(options),
        epochs=2,
        steps_per_epoch=6,
        shuffle=False,
        verbose=0,
    )
    assert int(vae.train_batches.value) == 12
    assert max(taken) < 12 + 3  # what tf.data itself reads ahead


def test_a_users_own_train_step_is_called() -> None:
    class Own(tf_decomp.DecompositionVAE):
        def train_step(self, data: Any) -> dict[str, tf.Tensor]:
            return {"mine": tf.constant(7.0)}

    vae = make_vae(divergence=None)
    own = Own(vae.encoder, vae.decoder, vae.prior)
    own.compile("adam", jit_compile=True, steps_per_execution=3)
    history = own.fit(X, batch_size=4, shuffle=False, verbose=0).history
    assert history == {"mine": [7.0]}


@pytest.mark.parametrize(("size", "expected"), [(2**21, [2, 2, 1]), (4, [5])])
def test_a_call_holds_a_bounded_number_of_numbers(
    size: int, expected: list[int]
) -> None:
    counts: list[int] = []

    def take(count: tf.Tensor, x: tf.Tensor) -> None:
        tf.numpy_function(lambda n: counts.append(int(n)), [count], [])

    batches = iter(tf.data.Dataset.from_tensors(tf.zeros([size, 1])).repeat(5))
    function = several_steps(7, lambda x: (x,), take, dict, otherwise=None)
    function(batches)
    assert counts == expected
    with pytest.raises(StopIteration):
        function(batches)
