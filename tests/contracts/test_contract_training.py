# SPDX-License-Identifier: Apache-2.0
"""Functional and sequential networks train, evaluate and serve as a subclass does."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DATA_DIM, DECODERS, ENCODERS, IMAGE, LATENT_DIM, data, make_vae

from tf_decomp import export_saved_model, load_encoder
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import NormalLikelihood
from tf_decomp.networks import MLPEncoder
from tf_decomp.posteriors import NormalPosterior

tfd = tfp.distributions
KERAS = ("functional", "functional_image", "sequential")


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """Dense layers and a head, as a user's own subclass."""

    def __init__(self, units: int, head: Any) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(4, "relu")
        self.params, self.head = keras.layers.Dense(units), head

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.params(self.hidden(x)))


def network(way: str, size: int, units: int, head: Any) -> keras.Model:
    """Returns the same network, written in one of the ways of Keras."""
    if way == "subclassed":
        return Subclassed(units, head)
    layers = [keras.layers.Dense(4, "relu"), keras.layers.Dense(units), head]
    if way == "sequential":
        return keras.Sequential(layers)
    inputs = outputs = keras.Input((size,))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def trained(way: str, **compiling: Any) -> tuple[Any, dict[str, list[float]]]:
    keras.utils.set_random_seed(0)
    head = NormalLikelihood([DATA_DIM])
    vae = make_vae(
        encoder=network(way, DATA_DIM, 4, NormalPosterior(LATENT_DIM)),
        decoder=network(way, LATENT_DIM, head.params_size(), head),
        divergence="dimensionwise_mmd",
        alpha=2.0,
    )
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    for weight in [*vae.encoder.weights, *vae.decoder.weights]:
        weight.assign(0.3 * rng.normal(size=weight.shape))
    vae.compile(keras.optimizers.SGD(1e-2), **compiling)
    x = data(18)
    history = vae.fit(x, batch_size=5, epochs=2, shuffle=False, verbose=0).history
    found = vae.evaluate(x, verbose=0, return_dict=True)
    return vae, {**history, **{f"test {k}": [v] for k, v in found.items()}}


@pytest.mark.parametrize(
    ("way", "compiling"),
    [
        ("functional", {"jit_compile": True, "steps_per_execution": 3}),
        pytest.param(
            "sequential",
            {"jit_compile": True, "steps_per_execution": 3},
            marks=pytest.mark.slow,
        ),
        pytest.param("functional", {"jit_compile": False}, marks=pytest.mark.slow),
        ("sequential", {"run_eagerly": True}),
    ],
)
def test_every_way_to_write_a_network_trains_alike(
    way: str, compiling: dict[str, Any], expected: Any
) -> None:
    vae, logs = trained(way, **compiling)
    its, its_logs = expected
    for mine, other in zip(vae.weights, its.weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)
    for name, values in its_logs.items():
        np.testing.assert_allclose(logs[name], values, rtol=2e-5, err_msg=name)
    x = data(3)
    np.testing.assert_allclose(
        vae.predict(x, verbose=0), its.predict(x, verbose=0), rtol=2e-5, atol=1e-6
    )


@pytest.fixture(scope="module")
def expected() -> Any:
    return trained("subclassed", jit_compile=False)


@pytest.mark.parametrize("name", KERAS)
def test_what_is_served_is_what_they_give(name: str, tmp_path: Path) -> None:
    shape = IMAGE if "image" in name else (DATA_DIM,)
    vae = make_vae(encoder=ENCODERS[name][0](), decoder=DECODERS[name][0]())
    x = np.random.default_rng(0).uniform(size=(5, *shape)).astype("float32")
    export_saved_model(vae, tmp_path / "saved")
    served = load_encoder(tmp_path / "saved")
    posterior = vae.encode(x)
    z = posterior.mean()
    np.testing.assert_allclose(served.encode(x)["loc"], z, rtol=1e-5)
    mean = vae.decode(z).mean()
    np.testing.assert_allclose(served.decode(z)["mean"], mean, rtol=1e-5)


def test_low_precision_networks_end_in_float32() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for name in KERAS:
            encoder, decoder = ENCODERS[name][0](), DECODERS[name][0]()
            vae = make_vae(encoder=encoder, decoder=decoder)
            shape = IMAGE if "image" in name else (DATA_DIM,)
            assert vae.encode(np.zeros([2, *shape])).dtype == tf.float32
            assert vae.decode(np.zeros([2, LATENT_DIM])).dtype == tf.float32
            assert encoder.layers[-2].compute_dtype == "float16"
    finally:
        keras.config.set_dtype_policy("float32")


@keras.saving.register_keras_serializable("tests")
class TFPHead(tfp.layers.DistributionLambda):
    """A head of a user's own that is a layer of TFP's, which is one of tf_keras."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(self._make, tfd.Distribution.mean, dtype="float32")

    @staticmethod
    def params_size(latent_dim: int) -> int:
        return 2 * latent_dim

    @staticmethod
    def _make(params: tf.Tensor) -> Any:
        loc, raw = tf.split(params, 2, axis=-1)
        return tfd.Independent(tfd.Logistic(loc, tf.nn.softplus(raw)), 1)


# Keras saves with a call that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
def test_layers_of_tfp_are_heads_of_networks_that_keras_does_not_trace(
    tmp_path: Path,
) -> None:
    named = MLPEncoder(LATENT_DIM, hidden=(4,), posterior="tests>TFPHead")
    own = Subclassed(2 * LATENT_DIM, TFPHead(LATENT_DIM))
    x = data(6)
    for encoder in (named, own):
        vae = make_vae(encoder=encoder)
        vae.compile("adam")
        vae.fit(x, batch_size=3, verbose=0)
        assert type(vae.encode(x).distribution) is tfd.Logistic
    make_vae(encoder=named).save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.encode(x).stddev(), named(x).stddev())


def test_a_network_of_other_outputs_says_which_layer_to_change() -> None:
    wrong = network("sequential", DATA_DIM, 5, NormalPosterior(LATENT_DIM))
    with pytest.raises(InputError, match="change the layer in front") as raised:
        make_vae(encoder=wrong)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="change the layer in front"):
        network("functional", DATA_DIM, 5, NormalPosterior(LATENT_DIM))
