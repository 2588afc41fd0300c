# SPDX-License-Identifier: Apache-2.0
"""Missing values: what is left out of log p(x|z), and what an encoder reads instead."""

from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import IMAGE, LIKELIHOODS, data, head_parameters, make_vae
from monte_carlo import assert_gradients
from runs import one_line

from tf_decomp import (
    ConvDecoder,
    ConvEncoder,
    FillMissing,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    export_saved_model,
    importance_weighted_bound,
    load_encoder,
)
from tf_decomp.likelihoods import leaves_missing_out, support_of
from tf_decomp.metrics import encode_data, marginal_log_likelihood, overlap_report

HEADS = [name for name in LIKELIHOODS if "missing" not in name]
RNG = np.random.default_rng(0)


def holes(x: np.ndarray, share: float = 0.3) -> np.ndarray:
    return np.where(np.random.default_rng(1).random(x.shape) < share, np.nan, x)


def head_and_data(name: str) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Returns a head without and one with missing values, network outputs and x."""
    make = LIKELIHOODS[name]
    plain, masked = make(dtype="float64"), make(dtype="float64", missing=True)
    parameters = head_parameters(plain, 3)
    distribution = plain(tf.constant(parameters))
    x = np.abs(RNG.normal(size=distribution.mean().shape)).clip(0, 1)
    x = np.round(x) if support_of(distribution).whole else x
    return plain, masked, parameters, x


@pytest.mark.parametrize("name", HEADS)
def test_without_missing_values_nothing_changes(name: str) -> None:
    plain, masked, parameters, x = head_and_data(name)
    found = []
    for head in (plain, masked):
        params = tf.constant(parameters)
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_prob = head(params).log_prob(x)
        found.append((log_prob, tape.gradient(log_prob, params)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert masked.get_config() == {**plain.get_config(), "missing": True} | {
        "name": masked.name
    }
    assert support_of(masked(parameters)) == support_of(plain(parameters))
    assert leaves_missing_out(masked(parameters))
    assert not leaves_missing_out(plain(parameters))
    np.testing.assert_array_equal(
        masked(parameters).sample(seed=[0, 1]), plain(parameters).sample(seed=[0, 1])
    )


@pytest.mark.parametrize("name", HEADS)
def test_missing_values_leave_the_marginal_of_the_others(name: str) -> None:
    plain, masked, parameters, x = head_and_data(name)
    x = holes(x)
    known = ~np.isnan(x)
    each = plain(tf.constant(parameters)).distribution.log_prob(np.nan_to_num(x))
    expected = np.where(known, each, 0).reshape(3, -1).sum(axis=1)
    params = tf.constant(parameters)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = masked(params).log_prob(x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    gradient = tape.gradient(log_prob, params).numpy()
    assert np.isfinite(gradient).all()
    per_value = gradient.shape[-1] // x.shape[-1]
    side_by_side = name == "categorical"  # other parameters lie in halves
    missing = (
        np.repeat(~known, per_value, axis=-1)
        if side_by_side
        else np.concatenate([~known] * per_value, axis=-1)
    )
    assert (gradient[missing] == 0).all()
    assert (gradient[~missing] != 0).any()
    assert_gradients(
        lambda params: tf.reduce_sum(masked(params).log_prob(x)), [parameters]
    )
    nothing = masked(params).log_prob(np.full(x.shape, np.nan))
    np.testing.assert_array_equal(nothing, np.zeros(3))


@pytest.mark.parametrize("name", HEADS)
def test_each_datum_of_stacked_outputs_has_its_own_sum(name: str) -> None:
    _, masked, parameters, x = head_and_data(name)
    x, other = holes(x), -parameters
    stacked = masked(np.stack([parameters, other])).log_prob(x)
    expected = [masked(parameters).log_prob(x), masked(other).log_prob(x)]
    np.testing.assert_allclose(stacked, expected, rtol=1e-12)


def test_what_an_encoder_reads() -> None:
    x = tf.constant([[[1.0, np.nan]], [[np.nan, -2.0]]])
    filled = FillMissing()(x)
    np.testing.assert_array_equal(filled, [[[1, 0, 0, 1]], [[0, -2, 1, 0]]])
    assert FillMissing().compute_output_shape((None, 4, 3)) == (None, 4, 6)


def test_an_encoder_of_whole_data_is_the_usual_one() -> None:
    for make, shape in (
        (partial(MLPEncoder, 2, (4,)), (3,)),
        (partial(ConvEncoder, 2, (2, 3), (4,)), IMAGE),
    ):
        usual, reading = make(), make(missing=True)
        x = RNG.normal(size=(5, *shape)).astype("float32")
        usual(x), reading(x)
        weights = reading.get_weights()
        first = weights[0]
        half = usual.get_weights()[0]
        assert first.shape[-2] == 2 * half.shape[-2]
        marks = RNG.normal(size=half.shape)  # they weigh nothing, whatever they are
        weights = [np.concatenate([half, marks], axis=-2), *usual.get_weights()[1:]]
        reading.set_weights(weights)
        np.testing.assert_allclose(reading(x).mean(), usual(x).mean(), rtol=1e-5)


@keras.saving.register_keras_serializable("test_missing")
class OfShapeAlone(NormalLikelihood):
    """A user's head, which knows of no missing values."""

    def __init__(self, data_shape: Any) -> None:
        super().__init__(data_shape)


def test_a_users_head_need_not_know_of_missing_values() -> None:
    name = "test_missing>OfShapeAlone"
    for decoder in (
        MLPDecoder(3, (4,), likelihood=name),
        ConvDecoder(IMAGE, (3,), (), likelihood=name),
    ):
        assert not leaves_missing_out(decoder(tf.zeros([2, 2])))


# -- a model --------------------------------------------------------------------------


def missing_vae(**kwargs: Any) -> Any:
    vae = make_vae(
        encoder=MLPEncoder(2, (8,), missing=True),
        decoder=MLPDecoder(3, (8,), missing=True),
        **kwargs,
    )
    vae.compile(keras.optimizers.Adam(0.01))
    return vae


X = holes(data(60)).astype("float32")


@pytest.mark.parametrize("divergence", [None, "dimensionwise_mmd"])
def test_a_model_takes_missing_values_everywhere(divergence: str | None) -> None:
    vae = missing_vae(divergence=divergence, alpha=1.0 if divergence else 0.0)
    losses = vae.fit(X, batch_size=20, epochs=10, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(20)
    vae.fit(dataset, validation_data=dataset, verbose=0)
    assert np.isfinite(vae.evaluate(X, verbose=0)).all()
    assert np.isfinite(vae.train_on_batch(X[:20])).all()
    assert np.isfinite(importance_weighted_bound(vae, X, 3, seed=0)).all()
    assert np.isfinite(marginal_log_likelihood(vae, X, 5).value)
    posterior = encode_data(vae, X)
    assert np.isfinite(posterior.stddev()).all()
    assert np.isfinite(overlap_report(posterior, prior=vae.prior).kl.value)
    assert np.isfinite(vae.predict(X, verbose=0)).all()
    assert np.isfinite(vae.reconstruct(X)).all()


def test_the_bound_is_that_of_the_columns_that_are_there() -> None:
    """The decoder is cut to them; the samples are the same."""

    class Cut(keras.Model):
        def call(self, z: Any, training: bool = False) -> Any:
            parts = vae.decode(z).distribution
            return NormalLikelihood([2], scale=1.0)(parts.loc[:, ::2])

    decoder = keras.Sequential(
        [keras.layers.Dense(3), NormalLikelihood([3], scale=1.0, missing=True)]
    )
    vae = make_vae(encoder=MLPEncoder(2, (8,), missing=True), decoder=decoder)
    x = data(7)
    x[:, 1] = np.nan
    got = importance_weighted_bound(vae, x, 5, seed=3)

    class Columns:
        prior, decode = vae.prior, Cut()

        def encode(self, x: Any) -> Any:
            return vae.encode(np.insert(x, 1, np.nan, axis=1))

    known = importance_weighted_bound(Columns(), x[:, ::2], 5, seed=3)
    np.testing.assert_allclose(got, known, rtol=1e-5)


def test_images() -> None:
    vae = make_vae(
        encoder=ConvEncoder(2, (2, 3), (4,), missing=True),
        decoder=ConvDecoder(IMAGE, (3, 2), (4,), missing=True),
    )
    vae.compile("adam")
    x = holes(RNG.uniform(size=(8, *IMAGE)))
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("which", ["encoder", "decoder", "neither"])
def test_both_networks_must_say_so(which: str) -> None:
    vae = make_vae(
        encoder=MLPEncoder(2, (4,), missing=which == "encoder"),
        decoder=MLPDecoder(3, (4,), missing=which == "decoder"),
    )
    vae.compile("adam")
    first = np.flatnonzero(np.isnan(X).any(axis=1))[0]
    for method in (vae.fit, vae.evaluate):
        with pytest.raises(InputError) as raised:
            method(X, verbose=0)
        one_line(raised, f"x[{first}] holds NaN", "both networks with missing=True")
    with pytest.raises(InputError) as raised:
        vae.fit(tf.data.Dataset.from_tensor_slices(X).batch(20), verbose=0)
    one_line(raised, "both networks with missing=True")


def test_other_numbers_are_refused_as_ever() -> None:
    vae, x = missing_vae(), X.copy()
    x[17, 0] = np.inf
    with pytest.raises(InputError, match=r"x\[17\] holds NaN or infinity \(1 of 60"):
        vae.fit(x, verbose=0)
    for mean in (vae.encode(x).mean(), vae.predict(x, verbose=0)):
        assert np.flatnonzero(np.isnan(mean).all(axis=1)).tolist() == [17]
    counts = make_vae(
        encoder=MLPEncoder(2, (4,), missing=True),
        decoder=MLPDecoder(3, (4,), "poisson", missing=True),
    )
    counts.compile("adam")
    x = holes(RNG.poisson(3.0, (60, 3)).astype("float32"))
    assert np.isfinite(counts.evaluate(x, verbose=0)).all()
    x[23] = [np.nan, 0.5, 1.0]
    for source in (x, tf.data.Dataset.from_tensor_slices(x).batch(10)):
        with pytest.raises(InputError) as raised:
            counts.fit(source, verbose=0)
        one_line(raised, "23", "spans 0.5 to 1", "(1 of", "whole numbers")


# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
def test_what_is_saved_and_served(tmp_path: Path) -> None:
    vae = missing_vae()
    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.encode(X).mean(), vae.encode(X).mean(), rtol=1e-6)
    assert np.isfinite(again.evaluate(X, verbose=0)).all()
    export_saved_model(vae, tmp_path / "1")
    served = load_encoder(tmp_path / "1").encode(X)
    np.testing.assert_allclose(served["loc"], vae.encode(X).mean(), rtol=1e-5)
