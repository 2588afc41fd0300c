# SPDX-License-Identifier: Apache-2.0
"""Your own Keras encoder and decoder, a learnt prior, and a warm-up of beta."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tf_decomp


@keras.saving.register_keras_serializable("examples")
class ResidualEncoder(keras.Model):
    """x [batch, data_dim] -> q(z|x): any layers, then a head."""

    def __init__(self, latent_dim: int, units: int = 64, name: str | None = None):
        super().__init__(name=name)
        self._config = {"latent_dim": latent_dim, "units": units}
        self.first = keras.layers.Dense(units, "gelu")
        self.second = keras.layers.Dense(units, "gelu")
        self.params = keras.layers.Dense(
            tf_decomp.NormalPosterior.params_size(latent_dim)
        )
        self.head = tf_decomp.NormalPosterior(latent_dim)

    def call(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Returns the posterior."""
        hidden = self.first(x)
        return self.head(self.params(hidden + self.second(hidden)))

    def get_config(self) -> dict:
        """Makes `vae.save` and `keras.models.load_model` work."""
        return {"name": self.name, **self._config}


@keras.saving.register_keras_serializable("examples")
class Decoder(keras.Model):
    """z [batch, latent_dim] -> p(x|z): a head, or any distribution of event [dim]."""

    def __init__(self, data_dim: int, name: str | None = None):
        super().__init__(name=name)
        self.data_dim = data_dim
        self.body = keras.Sequential(
            [keras.layers.Dense(64, "gelu"), keras.layers.Dense(data_dim)]
        )

    def call(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Returns the likelihood, here with a fixed scale."""
        return tfd.Independent(tfd.Normal(self.body(z), 0.2), 1)

    def get_config(self) -> dict:
        """Makes `vae.save` and `keras.models.load_model` work."""
        return {"name": self.name, "data_dim": self.data_dim}


def main() -> None:
    """Trains on three noisy directions and shows the learnt prior variances."""
    keras.utils.set_random_seed(0)  # of the weights, the order and the noise
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(2000, 3)) * [2.0, 1.0, 0.1]
    x = (factors @ rng.normal(size=(3, 8))).astype("float32")
    vae = tf_decomp.DecompositionVAE(
        ResidualEncoder(latent_dim=3),
        Decoder(data_dim=8),
        tf_decomp.NormalPrior(3, learnable=True, fixed_total=True),
        beta=0.0,
    )
    vae.compile(keras.optimizers.Adam(5e-3))
    warm_up = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: vae.beta.assign(min(1.0, epoch / 5))
    )
    vae.fit(x, batch_size=100, epochs=10, callbacks=[warm_up], verbose=2)
    print("prior variances:", vae.prior.variances.numpy().round(2))


if __name__ == "__main__":
    main()
