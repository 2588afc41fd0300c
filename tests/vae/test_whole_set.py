# SPDX-License-Identifier: Apache-2.0
"""D of a batch beside D of all data: the warning, and what `fit` prints."""

import re
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from cases import make_vae
from tensorflow_probability import distributions as tfd

from tf_decomp import NormalPrior
from tf_decomp.divergences import DIVERGENCES, inclusive_kl
from tf_decomp.vae.whole_set import BatchBias, SetDivergence, is_small_batch

N, BATCH = 100, 10
X = np.random.default_rng(0).normal(size=(N, 3)).astype("float32")
REPORT = re.compile(
    r"divergence: (\S+) \(standard error (\S+), n = (\d+)\) over batches of (\d+), "
    r"(\S+) \(standard error \S+, n = (\d+)\) of all"
)


def fitted(data: Any, **settings: Any) -> tuple[Any, list[str]]:
    """Returns the model after `fit`, and the warnings of it."""
    fit = {k: settings.pop(k) for k in tuple(settings) if k in FIT}
    vae = make_vae(**{"divergence": "inclusive_kl", "alpha": 1.0, **settings})
    vae.compile("sgd", run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.fit(data, **{"verbose": 2, **fit})
    return vae, [str(w.message) for w in caught if "inclusive_kl" in str(w.message)]


FIT = {
    *("batch_size", "epochs", "validation_data", "steps_per_epoch", "callbacks"),
    "verbose",
}


@pytest.mark.parametrize(
    ("as_data_set", "validated"),
    [(False, True), pytest.param(True, False, marks=pytest.mark.slow)],
)
def test_warns_once_with_the_numbers(
    as_data_set: bool, validated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    fit: dict[str, Any] = {"epochs": 2}
    if validated:
        fit["validation_data"] = (X[:30],)
    if as_data_set:
        vae, messages = fitted(
            tf.data.Dataset.from_tensor_slices(X).batch(BATCH), **fit
        )
    else:
        vae, messages = fitted(X, batch_size=BATCH, **fit)
    (message,) = messages
    assert f"batch of {BATCH} for all {N} of an epoch" in message
    found = REPORT.search(capsys.readouterr().out)
    assert found
    of_batches, _, n, size, of_all, n_all = map(float, found.groups())
    assert (n, size, n_all) == (N, BATCH, N)
    batches, everything = vae.divergence_by_size(X, BATCH)
    assert of_batches == pytest.approx(batches.value, rel=1e-3)
    assert of_all == pytest.approx(everything.value, rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"divergence": "dimensionwise_mmd", "batch_size": BATCH},
        {"alpha": 0.0, "batch_size": BATCH},
        {"batch_size": N // 5},
        {"batch_size": N, "epochs": 4},
    ],
    ids=["unbiased", "unused", "enough", "all"],
)
def test_silent_without_reason(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fitted(X, **settings)[1] == []
    assert not REPORT.search(capsys.readouterr().out)


def test_a_small_validation_set_is_no_batch_of_few() -> None:
    # 10 of 100 in 4 steps would be batches of 3.
    known = BatchBias(X, num_examples=N)
    fit: dict[str, Any] = {"batch_size": N // 4, "validation_data": (X[:10],)}
    assert fitted(X, **fit, callbacks=[known])[1] == []


def test_warns_but_prints_nothing_where_fit_is_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(fitted(X, batch_size=BATCH, verbose=0)[1]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_an_epoch_that_is_no_pass_needs_the_number() -> None:
    batches = tf.data.Dataset.from_tensor_slices(X).batch(BATCH).repeat()
    fit: dict[str, Any] = {"steps_per_epoch": 2, "epochs": 1}
    assert fitted(batches, **fit)[1] == []
    # Nor are 11 batches of 10 a set of 110.
    assert fitted(batches, steps_per_epoch=11)[1] == []
    known = BatchBias(X, num_examples=N)
    (message,) = fitted(batches, **fit, callbacks=[known])[1]
    assert f"batch of {BATCH} for all {N} of an epoch" in message
    (message,) = fitted(X, batch_size=BATCH, callbacks=[BatchBias(X)])[1]
    assert f"of {BATCH} for all {N}" in message


def test_a_generator_is_not_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    batches = ((X[i : i + BATCH],) for i in range(0, N, BATCH))
    assert len(fitted(batches)[1]) == 1
    assert not REPORT.search(capsys.readouterr().out)


def test_the_rule_is_a_tenth_of_the_data() -> None:
    of_kl, of_mmd = DIVERGENCES["inclusive_kl"], DIVERGENCES["dimensionwise_mmd"]
    assert is_small_batch(of_kl, 10, 100)
    assert not is_small_batch(of_kl, 10, 99)
    assert not is_small_batch(of_mmd, 1, 10**6)
    assert not is_small_batch(None, 1, 10**6)


@pytest.mark.slow
def test_mean_over_batches_has_the_delta_method_s_bias() -> None:
    # Wide encodings, so that the expansion holds: q_i = N(m_i, 1), p = N(0, 1).
    rng = np.random.default_rng(1)
    n, size = 4000, 20
    means = (0.5 * rng.normal(size=(n, 1))).astype("float32")
    prior = NormalPrior(1).distribution
    y = tf.constant(rng.normal(size=(4000, 1)), tf.float32)

    def encode(x: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(x, tf.ones_like(x))

    def divergence(posterior: tfd.Distribution, *_: Any) -> tf.Tensor:
        return inclusive_kl(y, prior, posterior)  # the same y: its noise cancels

    model = SimpleNamespace(
        encode=encode,
        prior=NormalPrior(1),
        divergence=divergence,
        data_shape=(1,),
        seed=0,
    )
    of_sets = SetDivergence(model)
    batches = of_sets.of_batches(means, size)
    assert batches.n == 100 * size
    everything = of_sets.of_all(means).value
    densities = np.exp(-((y.numpy() - means.T) ** 2) / 2)
    relative = densities.var(axis=1) / densities.mean(axis=1) ** 2
    expected = relative.mean() / (2 * size) * (1 - size / n)
    bias = batches.value - everything
    assert abs(bias - expected) < 4 * batches.standard_error + 0.2 * expected
    assert bias > 3 * batches.standard_error  # it is seen
