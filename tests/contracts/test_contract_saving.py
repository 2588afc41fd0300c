# SPDX-License-Identifier: Apache-2.0
"""Every case in a model survives `.keras`: numbers, weights, counters, optimiser."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    CALLABLES,
    CONDITION_DIM,
    DATA_DIM,
    DECODERS,
    ENCODERS,
    LEARNT_PRIORS,
    PRIORS,
    UserEncoder,
    data,
    make_conditional_vae,
    make_vae,
)

from tf_decomp.errors import InputError

tfd = tfp.distributions
# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")


def disturb(vae: Any) -> None:
    """Moves everything that a model holds away from where it starts."""
    rng = np.random.default_rng(1)
    for weight in [*vae.encoder.weights, *vae.decoder.weights, *vae.prior.weights]:
        noise = 0.1 * rng.uniform(size=weight.shape)
        weight.assign_add(tf.cast(noise, weight.dtype))
    vae.train_batches.assign(11)
    vae.beta.assign(0.75)
    if vae.divergence is not None:
        vae.alpha.assign(1.5)


def check(vae: Any, x: np.ndarray, path: Path, *c: np.ndarray) -> Any:
    disturb(vae)
    vae.save(path)
    again = keras.saving.load_model(path)
    assert type(again) is type(vae)
    assert float(again.alpha) == float(vae.alpha)
    assert float(again.beta) == 0.75
    assert int(again.train_batches) == 11
    posterior, reloaded = vae.encode(x, *c), again.encode(x, *c)
    assert type(reloaded) is type(posterior)
    np.testing.assert_array_equal(reloaded.mean(), posterior.mean())
    np.testing.assert_array_equal(reloaded.stddev(), posterior.stddev())
    z = posterior.mean()
    decoded, expected = again.decode(z, *c).mean(), vae.decode(z, *c).mean()
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(
        again.prior.distribution.log_prob(z), vae.prior.distribution.log_prob(z)
    )
    return again


def check_evaluation(vae: Any, x: np.ndarray, path: Path, *c: np.ndarray) -> None:
    evaluated = []
    for model in (vae, check(vae, x, path, *c)):
        model.compile(run_eagerly=True)
        logs = model.evaluate(x, *c, batch_size=4, verbose=0, return_dict=True)
        evaluated.append(logs)
    assert evaluated[0] == evaluated[1]


@pytest.mark.parametrize("jit_compile", ["auto", True, False])
def test_compile_arguments_are_kept(jit_compile: bool | str, path: Path) -> None:
    vae = make_vae()
    vae.compile(keras.optimizers.SGD(0.25), jit_compile=jit_compile)
    vae.save(path)
    again = keras.saving.load_model(path)
    assert again.get_compile_config() == vae.get_compile_config()
    assert again.get_compile_config()["jit_compile"] == jit_compile
    assert float(again.optimizer.learning_rate) == 0.25


def test_training_goes_on_as_if_never_saved(path: Path) -> None:
    vae = make_vae(prior=PRIORS["normal_learnt"]())
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    vae.fit(data(8), batch_size=4, shuffle=False, verbose=0)
    vae.save(path)
    again = keras.saving.load_model(path)
    assert int(again.train_batches) == 2
    # The optimiser's state and the noise go on where they were.
    for model in (vae, again):
        model.fit(data(8), batch_size=4, shuffle=False, verbose=0)
    for got, expected in zip(again.get_weights(), vae.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.keras"


@pytest.mark.parametrize("name", PRIORS)
def test_prior(name: str, path: Path) -> None:
    key = "dimensionwise_mmd" if name in LEARNT_PRIORS else None
    prior = PRIORS[name]()
    vae = make_vae(prior=prior, divergence=key, alpha=1.0 if key else 0.0)
    check_evaluation(vae, data(7), path)


@pytest.mark.parametrize("key", CALLABLES)
def test_divergence(key: str, path: Path) -> None:
    vae = make_vae(divergence=CALLABLES[key](), alpha=1.0, num_samples=2)
    check_evaluation(vae, data(7), path)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name: str, path: Path) -> None:
    make, data_shape = ENCODERS[name]
    decoder = DECODERS["mlp" if len(data_shape) == 1 else "conv_batch_norm"][0]()
    x = np.random.default_rng(0).uniform(size=(7, *data_shape)).astype("float32")
    check(make_vae(encoder=make(), decoder=decoder), x, path)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name: str, path: Path) -> None:
    make, data_shape = DECODERS[name]
    encoder = ENCODERS["mlp" if len(data_shape) == 1 else "conv"][0]()
    x = np.random.default_rng(0).uniform(size=(7, *data_shape)).astype("float32")
    check(make_vae(encoder=encoder, decoder=make()), x, path)


@pytest.mark.parametrize("family", ["independent_normal", "tril"])
def test_users_own_posterior(family: str, path: Path) -> None:
    vae = make_vae(encoder=UserEncoder(family), divergence="inclusive_kl", alpha=1.0)
    check_evaluation(vae, data(7), path)


def test_conditional_model(path: Path) -> None:
    vae = make_conditional_vae(divergence="inclusive_kl", alpha=1.0)
    c = data(6, seed=1)[:, :CONDITION_DIM]
    check_evaluation(vae, data(6), path, c)
    assert keras.saving.load_model(path).condition_dim == CONDITION_DIM


def test_model_that_was_never_compiled(path: Path) -> None:
    vae = make_vae()
    vae.save(path)
    np.testing.assert_array_equal(
        keras.saving.load_model(path).predict(data(3), verbose=0),
        vae.predict(data(3), verbose=0),
    )


def test_weights_alone(tmp_path: Path) -> None:
    vae = make_vae(prior=PRIORS["normal_learnt"](), beta=3.0)
    vae.prior.weights[0].assign([0.3, -0.3])
    vae.save_weights(tmp_path / "model.weights.h5")
    other = make_vae(prior=PRIORS["normal_learnt"]())
    other.encoder.body.layers[0].kernel.assign_add(tf.ones([DATA_DIM, 4]))
    other.load_weights(tmp_path / "model.weights.h5")
    assert float(other.beta) == 3.0
    for got, expected in zip(other.get_weights(), vae.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_prior_without_a_config_is_not_saved(path: Path) -> None:
    prior = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros(2)), tfp.bijectors.Exp()
    )
    with pytest.raises(InputError, match="subclass tf_decomp.Prior"):
        make_vae(prior=prior).save(path)
