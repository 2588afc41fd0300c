# SPDX-License-Identifier: Apache-2.0
"""VampPrior: the encoder's mixture, its gradients, and an encoder that counts once."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    DATA_DIM,
    LATENT_DIM,
    PSEUDO_INPUTS,
    UserEncoder,
    case_encoder,
    data,
    make_vae,
)
from runs import one_line

from tf_decomp import (
    InputError,
    NormalPosterior,
    VampPrior,
    export_saved_model,
    load_encoder,
)
from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig

tfd = tfp.distributions
# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
START = PSEUDO_INPUTS.astype("float32")


def vamp(**kwargs: Any) -> Any:
    return make_vae(prior=VampPrior(LATENT_DIM, START), **kwargs)


def norms(encoder: keras.Model) -> Any:
    """A batch-normalised, dropped-out encoder."""
    return keras.Sequential(
        [
            keras.Input((DATA_DIM,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            encoder,
        ]
    )


@pytest.mark.parametrize("family", ["normal_diag", "tril"])
def test_density_is_the_mean_of_the_posteriors(family: str) -> None:
    encoder = UserEncoder("tril") if family == "tril" else None
    vae, z = vamp(encoder=encoder), tf.constant(data(5)[:, :LATENT_DIM])
    each = [vae.encode(u[None]).log_prob(z) for u in START]
    expected = np.log(np.mean(np.exp(each), axis=0))
    np.testing.assert_allclose(vae.prior.distribution.log_prob(z), expected, rtol=1e-5)


@pytest.mark.parametrize("family", ["normal_diag", "tril"])
@pytest.mark.parametrize("key", ["inclusive_kl", "dimensionwise_mmd"])
def test_pseudo_inputs_learn_with_any_posterior(family: str, key: str) -> None:
    encoder = UserEncoder("tril") if family == "tril" else None
    vae = vamp(encoder=encoder, divergence=key, alpha=1.0)
    vae.compile(keras.optimizers.SGD(0.1))
    vae.fit(data(8), batch_size=4, verbose=0)
    assert np.all(np.abs(vae.prior.pseudo_inputs.numpy() - START).max(axis=1) > 1e-5)


def test_encoder_learns_through_the_prior_where_pseudo_inputs_are_frozen() -> None:
    vae, z = vamp(), tf.constant(data(4)[:, :LATENT_DIM])
    vae.prior.trainable = False
    assert vae.prior.learns
    weights = vae.encoder.trainable_variables
    for value in (
        lambda p: tf.reduce_sum(p.log_prob(z)),
        lambda p: tf.reduce_sum(p.sample(4, seed=[0, 1]) ** 2),
    ):
        with tf.GradientTape() as tape:
            total = value(vae.prior.distribution)
        for gradient in tape.gradient(total, [w.value for w in weights]):
            assert np.any(gradient != 0)


@pytest.mark.parametrize("key", ["inclusive_kl", "dimensionwise_mmd"])
def test_training_with_frozen_pseudo_inputs_changes_the_networks_alike(
    key: str,
) -> None:
    free, frozen = (vamp(divergence=key, alpha=1.0) for _ in range(2))
    frozen.set_weights(free.get_weights())
    frozen.prior.trainable = False
    before = [w.numpy() for w in free.encoder.weights]
    for vae in (free, frozen):
        vae.compile(keras.optimizers.SGD(0.1))
        vae.fit(data(8), batch_size=8, verbose=0, shuffle=False)
    np.testing.assert_array_equal(frozen.prior.pseudo_inputs, START)
    networks = [vae.encoder.weights + vae.decoder.weights for vae in (free, frozen)]
    for one, other in zip(*networks, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)
    for weight, start in zip(free.encoder.weights, before, strict=True):
        assert np.abs(weight.numpy() - start).max() > 1e-3


def test_samples_have_the_gradient_of_the_mean() -> None:
    prior = VampPrior(LATENT_DIM, PSEUDO_INPUTS, dtype="float64")
    prior.connect(case_encoder("float64"), (DATA_DIM,))
    with tf.GradientTape(persistent=True) as tape:
        distribution = prior.distribution
        second = tf.reduce_sum(distribution.variance() + distribution.mean() ** 2)
        rows = tf.reduce_sum(
            tf.reshape(distribution.sample(40_000, seed=[0, 1]) ** 2, [40, 1000, -1]),
            [1, 2],
        )
    u = prior.pseudo_inputs.value
    expected = tape.gradient(second, u)
    jacobian = tape.jacobian(rows, u, experimental_use_pfor=False) / 1000
    error = np.std(jacobian, axis=0, ddof=1) / 40**0.5
    assert np.all(np.abs(np.mean(jacobian, axis=0) - expected) < 5 * error)


def test_pseudo_inputs_are_encoded_as_in_evaluation() -> None:
    units = NormalPosterior.params_size(LATENT_DIM)
    body = keras.Sequential([keras.layers.Dense(units), NormalPosterior(LATENT_DIM)])
    vae = vamp(encoder=norms(body))
    moving = [w for w in vae.encoder.weights if "moving" in w.path]
    assert len(moving) == 2
    moving[0].assign([1.0, 2.0, 3.0])
    before, z = [w.numpy() for w in moving], tf.zeros([1, LATENT_DIM])
    values = [float(vae.prior.distribution.log_prob(z)[0]) for _ in range(3)]
    expected = np.log(np.mean(np.exp(vae.encode(START).log_prob(z))))
    assert values == pytest.approx([expected] * 3, rel=1e-5)
    for weight, start in zip(moving, before, strict=True):
        np.testing.assert_array_equal(weight, start)


def test_pseudo_inputs_are_so_encoded_inside_a_layer_in_training() -> None:
    class Density(keras.layers.Layer):
        def call(self, z: tf.Tensor, training: bool | None = None) -> tf.Tensor:
            return vae.prior.distribution.log_prob(z)

    units = NormalPosterior.params_size(LATENT_DIM)
    body = keras.Sequential([keras.layers.Dense(units), NormalPosterior(LATENT_DIM)])
    vae, z = vamp(encoder=norms(body)), tf.constant(data(4)[:, :LATENT_DIM])
    before = [w.numpy() for w in vae.encoder.weights]
    expected = vae.prior.distribution.log_prob(z)
    np.testing.assert_allclose(Density()(z, training=True), expected, rtol=1e-6)
    for weight, start in zip(vae.encoder.weights, before, strict=True):
        np.testing.assert_array_equal(weight, start)


def test_encoder_counts_once(tmp_path: Path) -> None:
    vae, plain = vamp(), make_vae()
    assert len(vae.prior.weights) == 1
    assert vae.count_params() == plain.count_params() + START.size
    assert len(vae.weights) == len({id(w) for w in vae.weights})
    vae.prior.pseudo_inputs.assign_add(tf.ones_like(START))
    vae.encoder.weights[0].assign_add(tf.ones_like(vae.encoder.weights[0]))
    vae.save_weights(tmp_path / "model.weights.h5")
    vae.save(tmp_path / "model.keras")
    other = vamp()
    other.load_weights(tmp_path / "model.weights.h5")
    again = keras.saving.load_model(tmp_path / "model.keras")
    clone = type(vae).from_config(vae.get_config())
    clone.set_weights(vae.get_weights())
    z = tf.constant(data(4)[:, :LATENT_DIM])
    expected = vae.prior.distribution.log_prob(z)
    for model in (other, again, clone):
        np.testing.assert_array_equal(model.prior.distribution.log_prob(z), expected)
        # Its own encoder, not the first model's.
        model.encoder.weights[0].assign_add(tf.ones_like(model.encoder.weights[0]))
        assert np.any(model.prior.distribution.log_prob(z) != expected)
    export_saved_model(vae, tmp_path / "saved")
    served = load_encoder(tmp_path / "saved")
    np.testing.assert_allclose(
        served.log_prob_prior(z)["log_prob"], expected, rtol=1e-5
    )
    samples = served.sample_prior(5, 3)["z"]
    np.testing.assert_allclose(
        samples, vae.prior.distribution.sample(5, seed=[3, 0]), rtol=1e-5
    )
    assert served.generate(5, 3)["x"].shape == [5, DATA_DIM]
    assert len(served._loaded.variables) <= len(vae.variables)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pseudo_inputs_start_at_all_digits(dtype: str) -> None:
    prior = VampPrior(LATENT_DIM, PSEUDO_INPUTS, dtype=dtype)
    again = VampPrior.from_config(prior.get_config())
    for each in (prior, again):
        given = PSEUDO_INPUTS.astype(dtype)
        np.testing.assert_array_equal(each.pseudo_inputs, given, strict=True)


def test_choice_takes_a_seeded_subset_of_the_data() -> None:
    x = data(20)
    config = ExperimentConfig(prior="vamp", num_pseudo_inputs=6, seed=3)
    first, again = (build_vae(config, [DATA_DIM], x) for _ in range(2))
    chosen = first.prior.pseudo_inputs.numpy()
    np.testing.assert_array_equal(chosen, again.prior.pseudo_inputs)
    assert len({*map(tuple, chosen)}) == 6
    assert {*map(tuple, chosen)} <= {*map(tuple, x)}
    config = ExperimentConfig(prior="vamp", num_pseudo_inputs=6, seed=4)
    other = build_vae(config, [DATA_DIM], x).prior.pseudo_inputs
    assert not np.array_equal(chosen, other)


def few() -> Any:
    config = ExperimentConfig(prior="vamp", num_pseudo_inputs=21)
    return build_vae(config, [DATA_DIM], data(20))


def two_models() -> Any:
    prior = VampPrior(LATENT_DIM, START)
    return [make_vae(prior=prior) for _ in range(2)]


BAD: dict[str, tuple[str, Any]] = {
    "two models": ("make a VampPrior for each model", two_models),
    "alone": ("make a DecompositionVAE", lambda: VampPrior(2, START).distribution),
    "rank": ("must be finite numbers", lambda: VampPrior(2, np.zeros(3))),
    "none": ("must be finite numbers", lambda: VampPrior(2, np.zeros([0, 3]))),
    "nan": ("must be finite numbers", lambda: VampPrior(2, np.full([2, 3], np.nan))),
    "shape": (
        "of the data's shape [3] each; received [4]",
        lambda: make_vae(prior=VampPrior(LATENT_DIM, np.zeros([2, 4]))),
    ),
    "latent_dim": ("latent_dim", lambda: VampPrior(0, START)),
    "few data": ("more than the 20 examples", few),
    "no data": (
        "pass x",
        lambda: build_vae(ExperimentConfig(prior="vamp"), [DATA_DIM]),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)
