# SPDX-License-Identifier: Apache-2.0
"""Every layer and network comes back from its config, through JSON."""

import json
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
    LATENT_DIM,
    PRIORS,
    case_encoder,
    make_conditional_vae,
    make_vae,
)

from tf_decomp.divergences import DIVERGENCES
from tf_decomp.errors import InputError
from tf_decomp.priors import FixedPrior, Prior

tfd = tfp.distributions
Z = np.random.default_rng(0).normal(size=(6, LATENT_DIM)).astype("float32")


def through_json(value: Any) -> Any:
    config = json.dumps(keras.saving.serialize_keras_object(value))
    return keras.saving.deserialize_keras_object(json.loads(config))


def arguments(config: Any) -> Any:
    """Returns a config as JSON holds it, without what Keras adds to built layers."""
    if isinstance(config, dict):
        return {k: arguments(v) for k, v in config.items() if k != "build_config"}
    return (
        [arguments(v) for v in config] if isinstance(config, list | tuple) else config
    )


@pytest.mark.parametrize("name", PRIORS)
def test_prior(name: str) -> None:
    prior = PRIORS[name]()
    again = through_json(prior)
    again.connect(case_encoder(), (DATA_DIM,))
    assert type(again) is type(prior)
    assert again.get_config() == prior.get_config()
    assert [w.trainable for w in again.weights] == [w.trainable for w in prior.weights]
    np.testing.assert_array_equal(
        again.distribution.log_prob(Z), prior.distribution.log_prob(Z)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prior_keeps_its_dtype(dtype: str) -> None:
    for make in PRIORS.values():
        again = through_json(make(dtype=dtype))
        again.connect(case_encoder(dtype), (DATA_DIM,))
        assert again.distribution.dtype == dtype


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name: str) -> None:
    make, data_shape = ENCODERS[name]
    check_network(make(), (2, *data_shape))


@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name: str) -> None:
    check_network(DECODERS[name][0](), (2, LATENT_DIM))


def check_network(network: Any, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(size=shape).astype("float32")
    network(x)
    again = through_json(network)
    again(x)
    assert arguments(again.get_config()) == arguments(network.get_config())
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(x).mean(), network(x).mean())
    value = network(x).mean()
    np.testing.assert_array_equal(again(x).log_prob(value), network(x).log_prob(value))


@pytest.mark.parametrize("key", [None, *DIVERGENCES])
def test_vae(key: str | None) -> None:
    vae = make_vae(
        prior=PRIORS["spike_and_slab"](),
        alpha=2.0 if key else 0.0,
        beta=0.5,
        divergence=key,
        num_samples=3,
        seed=7,
        name="small",
    )
    vae.beta.assign(0.25)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(vae)))
    again = keras.saving.deserialize_keras_object(config)
    for part in ("encoder", "decoder", "prior"):
        config = getattr(vae, part).get_config()
        assert getattr(again, part).get_config() == config
    assert float(again.alpha) == float(vae.alpha)
    assert float(again.beta) == 0.25
    assert again.divergence is (DIVERGENCES[key] if key else None)
    assert (again.num_samples, again.seed, again.name) == (3, 7, "small")


def test_conditional_vae() -> None:
    vae = make_conditional_vae(num_samples=3, beta=0.5, name="small")
    again = through_json(vae)
    assert arguments(again.get_config()) == arguments(vae.get_config())
    assert again.get_config()["condition_dim"] == vae.condition_dim


# -- fixed TFP distributions as priors --------------------------------------------


def nested() -> Any:
    """A mixture of an affine map of a normal and of a product of Student-t."""
    heavy = tfd.Independent(tfd.StudentT(4.0, tf.zeros(2), [1.0, 2.0]), 1)
    light = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    return tfd.Mixture(tfd.Categorical(logits=[0.0, 1.0]), [heavy, light])


PLAIN = {
    "nested": nested,
    "lists": lambda: tfd.MultivariateNormalDiag([0.0, 1.0], [1.0, 2.0]),
    "numpy": lambda: tfd.MultivariateNormalDiag(
        np.zeros(2, "float32"), np.ones(2, "float32")
    ),
    "mixture": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]),
        tfd.MultivariateNormalDiag([[0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0]]),
        reparameterize=False,
    ),
    "full": lambda: tfd.MultivariateNormalFullCovariance(
        [0.0, 1.0], [[2.0, 0.3], [0.3, 1.0]]
    ),
    "flags": lambda: tfd.Independent(
        tfd.Laplace([0.0, 1.0], 2.0, validate_args=True),
        reinterpreted_batch_ndims=tf.constant(1),
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_fixed_distribution(name: str) -> None:
    distribution = PLAIN[name]()
    again = through_json(FixedPrior(distribution)).distribution
    assert type(again) is type(distribution)
    assert again.dtype == distribution.dtype
    np.testing.assert_array_equal(again.log_prob(Z), distribution.log_prob(Z))
    np.testing.assert_array_equal(
        again.sample(3, seed=[0, 1]), distribution.sample(3, seed=[0, 1])
    )


class OwnNormal(tfd.MultivariateNormalDiag):  # type: ignore[name-defined]
    """A class that tfp.distributions does not have."""


UNPLAIN = {
    "bijector": lambda: tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros(2)), tfp.bijectors.Exp()
    ),
    "own class": lambda: OwnNormal(tf.zeros(2)),
    "operator": lambda: tfd.MultivariateNormalLinearOperator(
        tf.zeros(2), tf.linalg.LinearOperatorIdentity(2)
    ),
}


@pytest.mark.parametrize("name", UNPLAIN)
def test_unplain_distribution_trains_but_says_why_it_has_no_config(name: str) -> None:
    vae = make_vae(prior=UNPLAIN[name]())
    assert vae.prior.distribution.sample(3).shape == [3, LATENT_DIM]
    for layer in (vae.prior, vae):
        with pytest.raises(InputError, match="subclass tf_decomp.Prior") as raised:
            layer.get_config()
        assert "\n" not in str(raised.value)


def test_config_cannot_name_other_things() -> None:
    config = {"distribution": "MixtureSameFamily.__init__", "parameters": {}}
    with pytest.raises(InputError, match=r"no tfp\.distributions class"):
        FixedPrior(config)


def test_users_own_prior() -> None:
    @keras.saving.register_keras_serializable("tests")
    class ShiftedPrior(Prior):
        def __init__(self, latent_dim: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.loc = self.add_weight(shape=(latent_dim,), name="loc")

        @property
        def distribution(self) -> Any:
            return tfd.MultivariateNormalDiag(loc=self.loc.value)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "latent_dim": self.latent_dim}

    again = through_json(make_vae(prior=ShiftedPrior(LATENT_DIM))).prior
    assert type(again) is ShiftedPrior
    assert again.latent_dim == LATENT_DIM
