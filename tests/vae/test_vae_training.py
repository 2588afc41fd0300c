# SPDX-License-Identifier: Apache-2.0
"""Training: seeds, noise, XLA, learnt priors, batch norm, policies, own parts."""

import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    DATA_DIM,
    DECODERS,
    ENCODERS,
    FAMILIES,
    IMPLICIT_PRIORS,
    LATENT_DIM,
    LEARNT_PRIORS,
    PRIORS,
    WITHOUT_PRIOR,
    UserEncoder,
    data,
    make_vae,
)

from tf_decomp.divergences import DIVERGENCES
from tf_decomp.networks import MLPEncoder

tfd = tfp.distributions
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

X = data(20)


def fit(vae: Any, x: Any = X, *, epochs: int = 1, **kwargs: Any) -> dict[str, Any]:
    if isinstance(x, np.ndarray):
        kwargs["batch_size"] = 8  # 8, 8 and 4
    return vae.fit(x, epochs=epochs, shuffle=False, verbose=0, **kwargs).history


def compiled(vae: Any, jit_compile: bool | str = False) -> Any:
    vae.compile(keras.optimizers.SGD(0.02), jit_compile=jit_compile)
    return vae


def assert_equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def differ(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return any(not np.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


def distance(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> tf.Tensor:
    """A user's own divergence: how far q(z) and the prior samples are from 3."""
    assert latents.shape[1:] == prior_samples.shape[1:] == [LATENT_DIM]
    assert posterior.event_shape == prior.event_shape == [LATENT_DIM]
    assert prior.batch_shape == []
    means = tf.reduce_mean([latents, prior_samples], [0, 1])
    return tf.reduce_sum((means - 3.0) ** 2)


@functools.cache
def trained(
    jit_compile: bool, divergence: Any = distance, seed: int = 0, n: int = 8
) -> tuple[Any, list[np.ndarray], dict[str, Any]]:
    """A model after two epochs of n examples, its weights, its logs."""
    vae = make_vae(
        prior=PRIORS["normal_learnt"](),
        alpha=1.0,
        divergence=divergence,
        seed=seed,
    )
    history = fit(compiled(vae, jit_compile), X[:n], epochs=2)
    return vae, vae.get_weights(), history


# -- seeds and noise --------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_same_seed_same_run(jit_compile: bool) -> None:
    _, weights, history = trained(jit_compile)
    _, again, same = trained.__wrapped__(jit_compile)
    assert_equal(again, weights)
    assert same == history
    assert all(np.all(np.isfinite(value)) for value in history.values())


def test_other_seed_other_run() -> None:
    assert differ(trained(False)[1], trained(False, seed=1)[1])


@pytest.mark.slow
def test_xla_and_the_plain_step_agree() -> None:
    (_, plain, logs), (vae, xla, xla_logs) = (
        trained(jit_compile, "inclusive_kl", n=20) for jit_compile in (False, True)
    )
    # Keras must not compile the whole step: noise differs inside XLA.
    assert vae.jit_compile is False
    for a, b in zip(plain, xla, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for key, value in logs.items():
        np.testing.assert_allclose(value, xla_logs[key], rtol=1e-4, err_msg=key)


def test_steps_of_one_run_have_other_noise() -> None:
    vae = make_vae()
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    x = np.tile(X[:8], (3, 1))
    logs = [fit(vae, x[:8])["log_likelihood"][0] for _ in range(3)]
    assert len(set(logs)) == 3


def test_evaluation_does_not_change_the_noise_of_training() -> None:
    weights = []
    for evaluate in (False, True):
        vae = compiled(make_vae(alpha=1.0, divergence=distance))
        validation = {"validation_data": (X, None)} if evaluate else {}
        fit(vae, X[:8], epochs=2, **validation)
        if evaluate:
            before = vae.evaluate(X, batch_size=8, verbose=0)
        fit(vae, X[:8])
        weights.append(vae.get_weights())
    after = vae.evaluate(X, batch_size=8, verbose=0)
    vae.evaluate(X[:8], batch_size=8, verbose=0)
    assert vae.evaluate(X, batch_size=8, verbose=0) == after != before
    # The last weight is evaluation's own counter.
    counter = [i for i, w in enumerate(vae.weights) if "test_batches" in w.path]
    for each in weights:
        del each[counter[0]]
    assert_equal(*weights)


def test_steps_per_execution_change_nothing() -> None:
    weights = []
    for steps in (1, 3):
        vae = make_vae()
        vae.compile("sgd", jit_compile=False, steps_per_execution=steps)
        fit(vae, epochs=2)
        weights.append(vae.get_weights())
    assert_equal(*weights)


# -- the forms of a batch ---------------------------------------------------------


@pytest.mark.slow
def test_batches_may_be_x_or_tuples() -> None:
    vae = make_vae()
    vae.compile("sgd", jit_compile=False)
    start, runs = vae.get_weights(), []
    labels = np.arange(len(X))
    for slices in (X, (X,), (X, labels), X.astype("float64")):
        vae.set_weights(start)
        pipeline = tf.data.Dataset.from_tensor_slices(slices).batch(8)
        runs.append((fit(vae, pipeline), vae.get_weights()))
    for history, weights in runs[1:]:
        assert history == runs[0][0]
        assert_equal(weights, runs[0][1])
    # Arrays, and a data set of pairs, in evaluation and prediction.
    pipeline = tf.data.Dataset.from_tensor_slices((X, labels)).batch(8)
    expected = vae.evaluate(X, batch_size=8, verbose=0)
    assert vae.evaluate(pipeline, verbose=0) == expected
    assert vae.evaluate(X, labels, batch_size=8, verbose=0) == expected
    means = vae.predict(X, batch_size=8, verbose=0)
    np.testing.assert_array_equal(vae.predict(pipeline, verbose=0), means)


# -- learnt priors ----------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_learnt_variances_learn(jit_compile: bool) -> None:
    vae, _, _ = trained(jit_compile)
    start = PRIORS["normal_learnt"]().variances
    assert np.all(np.abs(vae.prior.variances - start) > 1e-3)


@pytest.mark.parametrize(
    ("prior", "divergence"),
    [
        ("normal_learnt", "inclusive_kl"),
        ("normal_learnt_fixed_total", "dimensionwise_mmd"),
    ],
)
def test_learnt_variances_learn_from_d_alone(prior: str, divergence: str) -> None:
    vae = make_vae(prior=PRIORS[prior](), alpha=1.0, beta=0.0, divergence=divergence)
    start = vae.prior.variances
    fit(compiled(vae), X[:8])
    assert np.all(np.abs(vae.prior.variances - start) > 1e-5)
    if prior == "normal_learnt_fixed_total":
        np.testing.assert_allclose(np.sum(vae.prior.variances), LATENT_DIM, rtol=1e-6)


@pytest.mark.parametrize(
    "divergence", [d for d in DIVERGENCES if d not in WITHOUT_PRIOR]
)
@pytest.mark.parametrize("prior", IMPLICIT_PRIORS)
def test_learnt_mixtures_learn_from_d_alone(prior: str, divergence: str) -> None:
    vae = make_vae(prior=PRIORS[prior](), alpha=1.0, beta=0.0, divergence=divergence)
    start = [weight.numpy() for weight in vae.prior.weights]
    fit(compiled(vae), X[:8])
    for weight, before in zip(vae.prior.weights, start, strict=True):
        assert np.all(np.abs(weight - before) > 1e-7), weight.name


@pytest.mark.parametrize("prior", [n for n in PRIORS if n not in LEARNT_PRIORS])
def test_every_fixed_prior_trains(prior: str) -> None:
    vae = make_vae(prior=PRIORS[prior](), alpha=1.0, divergence="dimensionwise_mmd")
    vae.compile("sgd", run_eagerly=True)
    history = fit(vae, X[:8])
    assert all(np.all(np.isfinite(value)) for value in history.values())


# -- batch normalisation ----------------------------------------------------------


class Statistics(keras.callbacks.Callback):
    """Keeps the moving averages after every batch and around every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[np.ndarray] = []
        self.tests: list[np.ndarray] = []

    def now(self) -> np.ndarray:
        weights = self.model.encoder.weights + self.model.decoder.weights
        moving = [w.numpy() for w in weights if "moving" in w.path]
        return np.concatenate(moving)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(self.now())

    def on_test_begin(self, logs: Any = None) -> None:
        self.tests.append(self.now())

    def on_test_end(self, logs: Any = None) -> None:
        self.tests.append(self.now())


def test_batch_norm_moves_in_every_step_and_never_in_evaluation() -> None:
    make, shape = ENCODERS["conv_batch_norm"]
    vae = compiled(make_vae(encoder=make(), decoder=DECODERS["conv_batch_norm"][0]()))
    x = np.random.default_rng(0).uniform(size=(20, *shape)).astype("float32")
    statistics = Statistics()
    fit(vae, x, epochs=2, validation_data=(x, None), callbacks=[statistics])
    assert len(statistics.batches) == 6
    for before, after in zip(statistics.batches, statistics.batches[1:], strict=False):
        assert np.all(np.abs(after - before) > 0)
    assert len(statistics.tests) == 4
    for before, after in zip(
        statistics.tests[::2], statistics.tests[1::2], strict=True
    ):
        np.testing.assert_array_equal(after, before)
    # Evaluation takes the moving averages: the rest of a batch does not matter.
    alone = vae.encode(x[:1]).mean()
    np.testing.assert_allclose(vae.encode(x).mean()[:1], alone, rtol=1e-5, atol=1e-6)


# -- a user's own parts -----------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "jit_compile"),
    # XLA could not draw the noise of a triangular normal: "auto" leaves it out.
    [("independent_normal", False), ("tril", "auto")],
)
@pytest.mark.slow
def test_users_own_posterior_trains(family: str, jit_compile: bool | str) -> None:
    vae = make_vae(
        encoder=UserEncoder(family),
        alpha=1.0,
        divergence="inclusive_kl",
        num_samples=2,
    )
    start = [weight.numpy() for weight in vae.encoder.trainable_variables]
    history = fit(compiled(vae, jit_compile), X[:8])
    assert all(np.all(np.isfinite(value)) for value in history.values())
    # The fifth output is the triangular family's alone.
    kernel, bias = vae.encoder.trainable_variables
    assert np.all(kernel[:, :4] != start[0][:, :4])
    assert np.all(bias[:4] != start[1][:4])


def test_laplace_posterior_trains() -> None:
    encoder = MLPEncoder(LATENT_DIM, hidden=(4,), posterior="laplace")
    history = fit(compiled(make_vae(encoder=encoder)), X[:8])
    assert all(np.all(np.isfinite(value)) for value in history.values())


@pytest.mark.slow
def test_users_own_divergence_gets_the_global_batch_and_gradients() -> None:
    vae = make_vae(alpha=10.0, beta=0.0, divergence=distance, num_samples=3)
    history = fit(compiled(vae), X[:8], epochs=20)
    assert history["divergence"][-1] < 0.9 * history["divergence"][0]
    assert np.isfinite(vae.evaluate(X, verbose=0, return_dict=True)["divergence"])


@pytest.mark.slow
@pytest.mark.parametrize(("jit_compile", "steps"), [(False, 1), (True, 1), (True, 3)])
def test_no_step_is_rewritten_by_autograph(jit_compile: bool, steps: int) -> None:
    seen = []

    def divergence(*arguments: Any) -> tf.Tensor:
        seen.append(tf.__internal__.autograph.control_status_ctx().status.name)
        return distance(*arguments)

    vae = make_vae(alpha=1.0, divergence=divergence)
    vae.compile("adam", jit_compile=jit_compile, steps_per_execution=steps)
    fit(vae)
    vae.evaluate(X, verbose=0)
    assert len(seen) >= 2
    assert "ENABLED" not in seen


@pytest.mark.parametrize("family", FAMILIES)
def test_one_sample_of_each_posterior_reaches_d(family: str) -> None:
    make, parameters = FAMILIES[family]
    loc, scale = (tf.constant(p, tf.float32) for p in parameters)
    seen = []

    class Constant(keras.Model):
        def call(self, x: Any, training: bool = False) -> Any:
            rows = tf.shape(x)[0]
            return make(loc[:rows], scale[:rows] if scale.shape.rank else scale)

    def keep(posterior: Any, prior: Any, latents: Any, samples: Any) -> tf.Tensor:
        seen.append((posterior.mean(), latents, samples))
        return tf.zeros([])

    vae = make_vae(encoder=Constant(), alpha=1.0, divergence=keep, num_samples=2)
    vae.compile("sgd", run_eagerly=True)
    fit(vae, X[:4])
    (mean, latents, samples) = seen[-1]
    np.testing.assert_array_equal(mean, make(loc, scale).mean())
    assert latents.shape == samples.shape == [4, LATENT_DIM]
    assert np.all(latents != mean)


# -- number formats ---------------------------------------------------------------


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    before, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(request.param)
    if request.param == "float64":
        keras.config.set_floatx("float64")
    yield request.param
    keras.config.set_dtype_policy(before)
    keras.config.set_floatx(floatx)


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"], indirect=True)
def test_policies(policy: str) -> None:
    expected = tf.float64 if policy == "float64" else tf.float32
    vae = make_vae(prior=PRIORS["normal_learnt"](), alpha=1.0, divergence=distance)
    start = [weight.numpy() for weight in vae.trainable_variables]
    assert vae.encoder.body.layers[0].compute_dtype == policy.replace("mixed_", "")
    posterior = vae.encode(X)
    assert posterior.dtype == vae.prior.distribution.dtype == expected
    assert (
        vae.decode(posterior.mean()).log_prob(X.astype(expected.name)).dtype == expected
    )
    # Half precision skips its first steps while it looks for the loss's scale.
    history = fit(compiled(vae), X[:8], epochs=10)
    assert all(np.all(np.isfinite(value)) for value in history.values())
    for weight in vae.trainable_variables:
        assert weight.dtype == expected.name
        assert np.all(np.isfinite(weight))
    assert differ([w.numpy() for w in vae.trainable_variables], start)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert vae.generate(2, seed=0).shape == [2, DATA_DIM]
