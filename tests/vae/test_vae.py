# SPDX-License-Identifier: Apache-2.0
"""DecompositionVAE: what its logs mean, evaluation, sampling, messages."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    DATA_DIM,
    DECODERS,
    LATENT_DIM,
    PRIORS,
    UserEncoder,
    data,
    make_vae,
)
from monte_carlo import assert_mean_close, finite_differences
from runs import one_line

import tf_decomp.vae.whole_set
from tf_decomp.divergences import DIVERGENCES
from tf_decomp.errors import InputError
from tf_decomp.networks import MLPDecoder, MLPEncoder
from tf_decomp.priors import NormalPrior
from tf_decomp.vae import DecompositionVAE

tfd = tfp.distributions
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

KEYS = ["loss", "elbo", "log_likelihood", "kl"]
BATCHES = (4, 4, 2)


class Shrink(keras.Model):
    """q(z|x) = N(factor * (x_0, x_1), scale^2 I)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
        self.scale = scale

    def call(self, x: Any, training: bool = False) -> Any:
        loc = self.factor * x[:, :LATENT_DIM]
        return tfd.MultivariateNormalDiag(loc, self.scale * tf.ones_like(loc))


class Repeat(keras.Model):
    """p(x|z) = N((z_0, z_1, z_0), I)."""

    def call(self, z: Any, training: bool = False) -> Any:
        loc = tf.concat([z, z[:, :1]], -1)
        return tfd.MultivariateNormalDiag(loc, tf.ones_like(loc))


def second_moment(
    posterior: Any, prior: Any, latents: Any, prior_samples: Any
) -> tf.Tensor:
    """A divergence that can be computed by hand."""
    return tf.reduce_mean(latents**2) * tf.cast(len(latents.shape), latents.dtype)


def hand_made(scale: float = 1e-7, **kwargs: Any) -> DecompositionVAE:
    vae = DecompositionVAE(Shrink(scale), Repeat(), NormalPrior(LATENT_DIM), **kwargs)
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return vae


def by_hand(
    x: np.ndarray, alpha: float, beta: float, factor: float = 1.0, scale: float = 1e-7
) -> dict[str, float]:
    """The logs of `hand_made` for data in batches."""
    loc = np.float64(factor) * x[:, :2]
    residual = np.concatenate([loc, loc[:, :1]], 1) - x
    log_x = np.sum(-0.5 * residual**2 - 0.5 * np.log(2 * np.pi), 1)
    kl = np.sum(0.5 * (scale**2 + loc**2 - 1) - np.log(scale), 1)
    edges = np.cumsum(BATCHES)[:-1]
    d = [2 * np.mean(part**2) for part in np.split(loc, edges)]
    divergence = np.average(d, weights=BATCHES)
    total = log_x.mean() - beta * kl.mean() - alpha * divergence
    return {
        "loss": -total,
        "elbo": log_x.mean() - kl.mean(),
        "log_likelihood": log_x.mean(),
        "kl": kl.mean(),
        "divergence": divergence,
    }


def assert_logs(got: dict[str, Any], expected: dict[str, float]) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=2e-5, err_msg=key)


X = data(sum(BATCHES))


# -- the logs ---------------------------------------------------------------------


def test_training_logs_are_the_formulas_over_uneven_batches() -> None:
    vae = hand_made(alpha=3.0, beta=0.25, divergence=second_moment)
    history = vae.fit(X, batch_size=4, shuffle=False, verbose=0).history
    logs = {key: value[-1] for key, value in history.items()}
    assert_logs(logs, by_hand(X, 3.0, 0.25))


def test_evaluation_logs_are_the_formulas_with_d_of_the_whole_set() -> None:
    vae = hand_made(alpha=3.0, beta=0.25, divergence=second_moment)
    expected = by_hand(X, 3.0, 0.25)
    whole = float(2 * np.mean(X[:, :2].astype(np.float64) ** 2))
    expected["loss"] += 3.0 * (whole - expected["divergence"])
    expected["divergence"] = whole
    logs = vae.evaluate(X, batch_size=4, verbose=0, return_dict=True)
    assert_logs(logs, expected)
    assert list(logs) == [*KEYS, "divergence"]
    values = vae.evaluate(X, batch_size=4, verbose=0)
    assert values == list(logs.values())
    history = vae.fit(
        X, batch_size=4, shuffle=False, verbose=0, validation_data=(X, None)
    ).history
    validation = {k[4:]: v[-1] for k, v in history.items() if k.startswith("val_")}
    assert_logs(validation, expected)


def test_logs_without_a_divergence() -> None:
    vae = hand_made(beta=2.0)
    expected = by_hand(X, 0.0, 2.0)
    del expected["divergence"]
    history = vae.fit(X, batch_size=4, shuffle=False, verbose=0).history
    assert_logs({key: value[-1] for key, value in history.items()}, expected)
    assert_logs(vae.evaluate(X, verbose=0, return_dict=True), expected)


def test_standard_errors_of_evaluation() -> None:
    vae = hand_made(alpha=2.0, divergence="dimensionwise_mmd")
    estimates = vae.evaluate_with_errors(X, batch_size=4, verbose=0)
    assert {estimate.n for estimate in estimates.values()} == {len(X)}
    residual = X[:, 0] - X[:, 2]
    log_x = -0.5 * residual**2 - 1.5 * np.log(2 * np.pi)
    kl = np.sum(0.5 * (1e-14 + X[:, :2] ** 2 - 1) - np.log(1e-7), 1)
    for key, values in (("log_likelihood", log_x), ("kl", kl), ("elbo", log_x - kl)):
        error = np.std(values, ddof=1) / len(X) ** 0.5
        np.testing.assert_allclose(estimates[key].standard_error, error, rtol=1e-4)
    loss, divergence = estimates["loss"], estimates["divergence"]
    assert divergence.standard_error > 0
    error = np.std(log_x - kl, ddof=1) / len(X) ** 0.5
    error = np.hypot(error, 2.0 * divergence.standard_error)
    np.testing.assert_allclose(loss.standard_error, error, rtol=1e-4)


@pytest.mark.parametrize("part", ["train", "test"])
def test_samples_are_averaged(part: str) -> None:
    # E log N(x; z, I) with z ~ N(loc, s^2 I) is log N(x; loc, I) - 3 s^2 / 2.
    n, scale = 20_000, 0.5
    vae = hand_made(scale, num_samples=n)
    if part == "train":
        got = vae.fit(X[:1], verbose=0).history["log_likelihood"][0]
    else:
        got = vae.evaluate(X[:1], verbose=0, return_dict=True)["log_likelihood"]
    z = X[:1, :2] + scale * np.random.default_rng(0).normal(size=(n, 2))
    residual = np.concatenate([z, z[:, :1]], 1) - X[:1]
    draws = np.sum(-0.5 * residual**2, 1) - 1.5 * np.log(2 * np.pi)
    expected = by_hand(np.tile(X[:1], (10, 1)), 0, 1)["log_likelihood"] - 1.5 * scale**2
    assert_mean_close(draws, expected)
    assert abs(got - expected) < 5 * np.std(draws) / n**0.5


def test_a_step_descends_the_logged_loss() -> None:
    x = X[:8]  # two batches of one size: one step each
    vae = hand_made(alpha=3.0, beta=0.25, divergence=second_moment)
    vae.optimizer.learning_rate = 0.01

    def loss(factor: Any) -> Any:
        loc = factor * x[:, :2]
        residual = tf.concat([loc, loc[:, :1]], 1) - x
        total = 0.5 * tf.reduce_sum(residual**2) / 8
        total += 0.25 * 0.5 * tf.reduce_sum(loc**2) / 8
        return total + 3.0 * 2 * tf.reduce_mean(loc**2)

    slope = finite_differences(loss, [np.array(1.0)], 0)
    vae.fit(x, batch_size=8, verbose=0)
    (factor,) = vae.trainable_variables
    np.testing.assert_allclose(factor, 1.0 - 0.01 * slope, rtol=1e-5)


def test_regularisation_is_minimised_but_not_logged() -> None:
    def fit(strength: float) -> tuple[Any, float]:
        vae = make_vae()
        kernel = vae.encoder.body.layers[0].kernel
        kernel.regularizer = keras.regularizers.L2(strength)
        vae.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        loss = vae.fit(X, batch_size=10, shuffle=False, verbose=0).history["loss"][0]
        return kernel.numpy(), loss

    start = make_vae().encoder.body.layers[0].kernel.numpy()
    (plain, loss), (shrunk, same_loss) = fit(0.0), fit(0.5)
    assert same_loss == loss
    np.testing.assert_allclose(plain - shrunk, 0.1 * start, rtol=1e-4, atol=1e-6)


# -- alpha and beta ---------------------------------------------------------------


class WarmUp(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.alpha.assign([0.0, 0.0, 2.0][epoch])
        self.model.beta.assign([0.0, 0.5, 1.0][epoch])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_warm_up_reaches_a_traced_step(jit_compile: bool) -> None:
    vae = hand_made(divergence=second_moment)
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    x = X[:8]
    history = vae.fit(
        x, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[WarmUp()]
    ).history
    log_x = np.mean(-0.5 * (x[:, 0] - x[:, 2]) ** 2) - 1.5 * np.log(2 * np.pi)
    kl = np.mean(np.sum(0.5 * (x[:, :2] ** 2 - 1) - np.log(1e-7), 1))
    d = 2 * np.mean(x[:, :2] ** 2)
    # D is not computed while alpha is 0.
    np.testing.assert_allclose(history["divergence"], [np.nan, np.nan, d], rtol=1e-5)
    expected = [-log_x, -(log_x - 0.5 * kl), -(log_x - kl - 2 * d)]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(history["elbo"], [log_x - kl] * 3, rtol=1e-5)


def test_alpha_and_beta_are_weights_that_do_not_train() -> None:
    vae = make_vae(alpha=1.5, beta=0.5, divergence="dimensionwise_mmd")
    assert (float(vae.alpha), float(vae.beta)) == (1.5, 0.5)
    vae.alpha, vae.beta = 2.0, 3.0
    assert (float(vae.alpha), float(vae.beta)) == (2.0, 3.0)
    assert not any(w.path.endswith(("alpha", "beta")) for w in vae.trainable_variables)
    names = {weight.name for weight in vae.weights}
    assert {"alpha", "beta", "train_batches", "test_batches"} < names


# -- evaluation -------------------------------------------------------------------


def number_of_examples(
    posterior: Any, prior: Any, latents: Any, prior_samples: Any
) -> tf.Tensor:
    """A divergence that tells what it was given."""
    sizes = [tf.shape(t)[0] for t in (posterior.mean(), latents, prior_samples)]
    return tf.cast(tf.reduce_max(sizes) * tf.reduce_min(sizes), tf.float32) ** 0.5


def test_evaluation_computes_d_once_on_the_whole_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = hand_made(alpha=1.0, divergence=number_of_examples)
    for batch_size in (3, 10):
        logs = vae.evaluate(X, batch_size=batch_size, verbose=0, return_dict=True)
        assert logs["divergence"] == 10.0
    pipeline = tf.data.Dataset.from_tensor_slices((X, X[:, 0])).batch(3)
    logs = vae.evaluate(pipeline, verbose=0, return_dict=True)
    assert logs["divergence"] == 10.0
    monkeypatch.setattr(tf_decomp.vae.whole_set, "_MAX_EXAMPLES", 7)
    for x in (X, pipeline):
        assert vae.evaluate(x, verbose=0, return_dict=True)["divergence"] == 7.0


def test_evaluation_of_d_does_not_depend_on_the_batch_size() -> None:
    vae = make_vae(divergence="dimensionwise_mmd")  # alpha is 0: D all the same
    vae.compile(jit_compile=False)
    first, second, pipeline = (
        vae.evaluate(x, batch_size=size, verbose=0, return_dict=True)["divergence"]
        for x, size in (
            (X, 3),
            (X, 10),
            (tf.data.Dataset.from_tensor_slices(X).batch(4), None),
        )
    )
    assert first == second == pipeline
    assert np.isfinite(first)


def test_evaluation_of_d_is_the_mean_of_ten_draws() -> None:
    def draw(posterior: Any, prior: Any, latents: Any, samples: Any) -> tf.Tensor:
        return latents[0, 0] + samples[0, 0]

    vae = hand_made(1.0, alpha=1.0, divergence=draw)
    estimate = vae.evaluate_with_errors(X, verbose=0)["divergence"]
    # A draw's variance is 1 + 1.
    assert abs(estimate.value - X[0, 0]) < 5 * (2 / 10) ** 0.5
    assert 0.3 < estimate.standard_error / (2 / 10) ** 0.5 < 2


def test_evaluation_repeats_exactly() -> None:
    vae = make_vae(prior=PRIORS["normal_mixture"](), divergence="dimensionwise_mmd")
    vae.compile(jit_compile=False)
    first, second = (
        vae.evaluate(X, batch_size=4, verbose=0, return_dict=True) for _ in range(2)
    )
    assert first == second


# -- sampling ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae() -> DecompositionVAE:
    return make_vae(prior=PRIORS["normal_mixture"]())


def test_predict_is_the_posterior_mean(vae: DecompositionVAE) -> None:
    means = vae.encode(X).mean()
    got = vae.predict(X, batch_size=4, verbose=0)
    assert isinstance(got, np.ndarray)
    assert got.shape == (10, LATENT_DIM)
    np.testing.assert_allclose(got, means, rtol=1e-6)
    np.testing.assert_array_equal(vae(X), means)
    np.testing.assert_array_equal(vae(X.astype("float64")), means)


def test_encode_and_decode_give_plain_distributions(vae: DecompositionVAE) -> None:
    posterior, likelihood = vae.encode(X), vae.decode(np.zeros([4, LATENT_DIM]))
    assert isinstance(posterior, tfd.MultivariateNormalDiag)
    assert posterior.batch_shape == [10]
    assert likelihood.batch_shape == [4]
    assert likelihood.event_shape == vae.data_shape == (DATA_DIM,)
    assert vae.latent_dim == LATENT_DIM


def check_seeds(draw: Callable[..., Any], shape: list[int]) -> None:
    assert draw(seed=1).shape == shape
    np.testing.assert_array_equal(draw(seed=1), draw(seed=1))
    assert not np.allclose(draw(seed=1), draw(seed=2))
    assert not np.allclose(draw(), draw())


def test_generate(vae: DecompositionVAE) -> None:
    check_seeds(lambda **seed: vae.generate(5, **seed), [5, DATA_DIM])
    check_seeds(lambda **seed: vae.generate(5, sample=True, **seed), [5, DATA_DIM])
    mean, sample = vae.generate(5, seed=1), vae.generate(5, sample=True, seed=1)
    assert not np.allclose(mean, sample)


def test_generate_decodes_prior_samples() -> None:
    vae = hand_made()
    generated = vae.generate(20_000, seed=0)
    assert_mean_close(generated, 0.0)
    assert_mean_close(generated**2, 1.0)
    np.testing.assert_array_equal(generated[:, 0], generated[:, 2])
    sampled = vae.generate(20_000, sample=True, seed=0)
    # The noise of p(x|z) is not that of z.
    assert_mean_close(sampled**2, 2.0)
    assert_mean_close(sampled[:, 0] * sampled[:, 1], 0.0)


def test_reconstruct(vae: DecompositionVAE) -> None:
    expected = vae.decode(vae.encode(X).mean()).mean()
    np.testing.assert_array_equal(vae.reconstruct(X), expected)
    check_seeds(lambda **s: vae.reconstruct(X, sample=True, **s), [10, DATA_DIM])


def test_sampled_reconstructions_have_both_noises() -> None:
    vae = hand_made(0.5)
    x = np.tile(X[:1], (20_000, 1))
    difference = vae.reconstruct(x, sample=True, seed=0) - np.take(x, [0, 1, 0], 1)
    assert_mean_close(difference, 0.0)
    assert_mean_close(difference**2, 0.5**2 + 1)
    assert_mean_close(difference[:, 0] * difference[:, 1], 0.0)


# -- messages ---------------------------------------------------------------------

BAD: dict[str, tuple[str, Callable[[], Any]]] = {
    "beta": ("beta must be >= 0 and finite; received -1", lambda: make_vae(beta=-1)),
    "beta nan": ("beta must be", lambda: make_vae(beta=float("nan"))),
    "alpha": (
        "alpha must be >= 0 and finite; received -1",
        lambda: make_vae(alpha=-1, divergence="inclusive_kl"),
    ),
    "alpha inf": (
        "alpha must be",
        lambda: make_vae(alpha=float("inf"), divergence="inclusive_kl"),
    ),
    "no divergence": ("none is given; choose one of", lambda: make_vae(alpha=1.0)),
    "divergence": (
        f"divergence: expected one of {sorted(DIVERGENCES)} or a callable; "
        "received 'kl'",
        lambda: make_vae(divergence="kl"),
    ),
    "divergence type": ("divergence: expected one of", lambda: make_vae(divergence=3)),
    "num_samples": (
        "num_samples must be a whole number >= 1; received 0",
        lambda: make_vae(num_samples=0),
    ),
    "prior": (
        "prior: expected a tf_decomp.Prior",
        lambda: make_vae(prior="normal"),
    ),
    "encoder latent_dim": (
        "encoder: for one input expected",
        lambda: make_vae(encoder=MLPEncoder(3)),
    ),
    "prior latent_dim": ("prior has latent_dim=5", lambda: make_vae(NormalPrior(5))),
    "prior dtype": (
        "float64",
        lambda: make_vae(tfd.MultivariateNormalDiag(np.zeros(2), np.ones(2))),
    ),
    "decoder of one number": (
        "decoder: for one input expected",
        lambda: make_vae(decoder=Scalars()),
    ),
    "encoder that gives tensors": (
        "encoder",
        lambda: make_vae(encoder=keras.layers.Dense(LATENT_DIM)),
    ),
    "loss": ("received loss, leave it out", lambda: make_vae().compile(loss="mse")),
    "metrics": (
        "received metrics, leave it out",
        lambda: make_vae().compile(metrics=["mse"]),
    ),
}


class Scalars(keras.Model):
    """A decoder whose event is not one datum."""

    def call(self, z: Any, training: bool = False) -> Any:
        return tfd.Normal(tf.concat([z, z[:, :1]], -1), 1.0)


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)


def test_users_own_networks_of_images() -> None:
    shape = DECODERS["conv"][1]

    class Encoder(UserEncoder):
        def call(self, x: Any, training: bool = False) -> Any:
            return super().call(tf.reshape(x, [-1, int(np.prod(shape))]))

    vae = make_vae(encoder=Encoder(), decoder=DECODERS["conv"][0]())
    assert vae.data_shape == shape
    assert vae.encode(np.zeros([3, *shape])).mean().shape == [3, LATENT_DIM]
    assert vae.generate(2, seed=0).shape == [2, *shape]


def test_decoder_and_encoder_may_have_other_likelihoods() -> None:
    decoder = MLPDecoder(DATA_DIM, hidden=(), likelihood="bernoulli")
    generated = make_vae(decoder=decoder).generate(50, sample=True, seed=0)
    assert set(np.unique(generated)) == {0.0, 1.0}
