# SPDX-License-Identifier: Apache-2.0
"""DecompositionVAE: the objective (7) as a Keras model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.divergences import DIVERGENCES
from tf_decomp.errors import InputError
from tf_decomp.priors import Prior, as_prior
from tf_decomp.sampling import plain, stateless_seed
from tf_decomp.vae.fitting import ObjectiveFitter


@keras.saving.register_keras_serializable("tf_decomp")
class DecompositionVAE(ObjectiveFitter):
    """A VAE trained on L_{alpha,beta}, equation (7).

    Compile, fit, evaluate, predict and save it as any Keras model; batches may be x,
    (x,) or (x, y), of which x alone is used. Logs are means over examples, in nats:
    `loss` = -(log_likelihood - beta kl - alpha D), `elbo` = log_likelihood - kl,
    `log_likelihood`, `kl`, and `divergence` = D where a divergence is set. In
    training D is computed while alpha > 0 (else its log is NaN); `evaluate` computes
    it once on the whole set, on at most its first 10,000 examples, as the mean over
    10 draws. Regularisation losses of the networks' layers are minimised too but are
    not part of the logs.

    Args:
        encoder: Maps x [batch, *data_shape] to q(z|x) of batch shape [batch] and event
            shape [latent_dim].
        decoder: Maps z [batch, latent_dim] to p(x|z) of event shape data_shape.
        prior: A Prior, or any fixed distribution of event shape [latent_dim].
        alpha: Weight of D(q(z), p(z)); a weight of the model: `vae.alpha.assign(2.0)`,
            and `vae.number(vae.alpha)` gives its value under any strategy.
        beta: Weight of the KL; likewise.
        divergence: A key of DIVERGENCES or a callable of their calling form.
        num_samples: Posterior samples a datum, averaged.
        seed: Base seed of all noise. The same seed gives the same run, on one replica
            or several.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: A number is out of range, alpha > 0 has no divergence, or the
            networks' shapes do not fit each other or the prior.

    Example:
        >>> vae = DecompositionVAE(MLPEncoder(2), MLPDecoder(3), NormalPrior(2))
        >>> vae.compile("adam")
        >>> vae.fit(x, batch_size=100, epochs=10)
        >>> vae.encode(x).mean()
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: Prior | tfd.Distribution,
        *,
        alpha: float = 0.0,
        beta: float = 1.0,
        divergence: str | Callable[..., tf.Tensor] | None = None,
        num_samples: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_numbers(alpha, beta, num_samples)
        self.encoder, self.decoder, self.prior = encoder, decoder, as_prior(prior)
        self.divergence = _find_divergence(divergence, alpha)
        self.num_samples, self.seed = num_samples, seed
        self._alpha = self._weight("alpha", alpha)
        self._beta = self._weight("beta", beta)
        self.prepare(self._build_networks())
        self.built = True

    @property
    def alpha(self) -> keras.Variable:
        """Weight of D(q(z), p(z)); assign to change it during training."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha.assign(value)

    @property
    def beta(self) -> keras.Variable:
        """Weight of the KL; assign to change it during training."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._beta.assign(value)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self._data_shape

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self.prior.latent_dim

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Gives posterior means [batch, latent_dim] of x [batch, *data_shape]."""
        return plain(self.encoder(self._cast(x), training=training)).mean()

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        """Gives q(z|x), batch shape [batch], of x [batch, *data_shape]."""
        return plain(self.encoder(self._cast(x), training=False))

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        """Gives p(x|z), batch shape [batch], of z [batch, latent_dim]."""
        return plain(self.decoder(self._cast(z), training=False))

    def generate(
        self, n: int, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Gives n data [n, *data_shape] of the model, decoded from prior samples.

        Args:
            n: How many.
            sample: Whether to sample p(x|z) instead of taking its mean.
            seed: Same seed, same result; None draws anew.
        """
        latents = self.prior.distribution.sample(n, seed=stateless_seed(seed))
        return _mean_or_sample(self.decode(latents), sample, seed)

    def reconstruct(
        self, x: tf.Tensor, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Gives reconstructions [batch, *data_shape] of x.

        Args:
            x: [batch, *data_shape].
            sample: Whether to sample q(z|x) and p(x|z) instead of taking their means.
            seed: Same seed, same result; None draws anew.
        """
        posterior = self.encode(x)
        if not sample:
            return self.decode(posterior.mean()).mean()
        latents = posterior.sample(seed=stateless_seed(seed))
        return _mean_or_sample(self.decode(latents), sample, seed)

    def get_config(self) -> dict[str, Any]:
        """Gives the constructor's arguments, alpha and beta as they are now."""
        save = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "encoder": save(self.encoder),
            "decoder": save(self.decoder),
            "prior": save(self.prior),
            "alpha": self.number(self.alpha),
            "beta": self.number(self.beta),
            "divergence": None if self.divergence is None else save(self.divergence),
            "num_samples": self.num_samples,
            "seed": self.seed,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "DecompositionVAE":
        """Builds the model that `get_config` described."""
        load = keras.saving.deserialize_keras_object
        parts = {
            name: load(config[name], custom_objects=custom_objects)
            for name in ("encoder", "decoder", "prior", "divergence")
            if config[name] is not None
        }
        return cls(**{**config, **parts})

    def _build_networks(self) -> tfd.Distribution:
        """Calls both networks once, so that all weights exist and all shapes fit."""
        latent_dim, prior = self.latent_dim, self.prior.distribution
        if prior.dtype != self.variable_dtype:
            raise InputError(
                f"prior: expected numbers of type {self.variable_dtype}, the model's; "
                f"received {prior.dtype.name}, convert its parameters"
            )
        likelihood = self.decode(np.zeros([1, latent_dim]))
        self._data_shape = _check_output("decoder", likelihood, None)
        posterior = self.encode(np.zeros([1, *self._data_shape]))
        _check_output("encoder", posterior, (latent_dim,))
        return posterior

    def _weight(self, name: str, value: float) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )


def _check_output(
    network: str, output: Any, event: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Gives the event shape of what a network made of one input, if it is right."""
    wanted = "[data_dim, ...]"
    if event is not None:
        wanted = f"{list(event)} (the prior has latent_dim={event[0]})"
    if not isinstance(output, tfd.Distribution):
        received = f"a {type(output).__name__}"
    else:
        received = f"batch {output.batch_shape} and event {output.event_shape}"
        shape = tuple(output.event_shape.as_list())
        if output.batch_shape == [1] and shape and event in (None, shape):
            return shape
    raise InputError(
        f"{network}: for one input expected a distribution with batch shape [1] and "
        f"event shape {wanted}; received {received}"
    )


def _mean_or_sample(
    likelihood: tfd.Distribution, sample: bool, seed: int | None
) -> tf.Tensor:
    if not sample:
        return likelihood.mean()
    return likelihood.sample(seed=stateless_seed(seed, stream=1))


def _check_numbers(alpha: float, beta: float, num_samples: int) -> None:
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"{name} must be >= 0 and finite; received {value}")
    if num_samples < 1:
        raise InputError(f"num_samples must be >= 1; received {num_samples}")


def _find_divergence(
    divergence: str | Callable[..., tf.Tensor] | None, alpha: float
) -> Callable[..., tf.Tensor] | None:
    if divergence is None and alpha > 0:
        raise InputError(
            f"alpha={alpha} weighs a divergence, but none is given; choose one of "
            f"{sorted(DIVERGENCES)} or set alpha to 0"
        )
    if divergence is None or callable(divergence):
        return divergence
    if divergence not in DIVERGENCES:
        raise InputError(
            f"divergence: expected one of {sorted(DIVERGENCES)} or a callable; "
            f"received {divergence!r}"
        )
    return DIVERGENCES[divergence]
