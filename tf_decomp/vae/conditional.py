# SPDX-License-Identifier: Apache-2.0
"""ConditionalVAE: p(x|z, c) and q(z|x, c), a model of data given what is known."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.batches import check_conditions, kind_of
from tf_decomp.checks import check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.priors import Prior
from tf_decomp.sampling import plain
from tf_decomp.vae.inputs import as_tensor, checked_data
from tf_decomp.vae.model import DecompositionVAE

_register = keras.saving.register_keras_serializable("tf_decomp")


@_register
class ConditionalVAE(DecompositionVAE):
    """A DecompositionVAE of p(x|c): every example x comes with a condition c.

    The objective is equation (7) with p(x|z, c) and q(z|x, c) for p(x|z) and q(z|x), a
    conditional VAE (Sohn et al. 2015) with the paper's two factors:

        E_q[log p(x|z, c)] - beta KL(q(z|x, c) || p(z)) - alpha D(q(z), p(z)).

    The prior knows no c, and q(z) is the aggregate over all pairs (x, c). So z need not
    hold what c tells of x, and for the KL holds it at a price; nothing more keeps it
    out, so measure what z still tells of c.

    `fit`, `evaluate`, `train_on_batch` and the like take c where Keras has y: arrays
    `fit(x, c)`, or data of batches (x, c). Classes are one-hot rows
    (`keras.utils.to_categorical`). Each network takes one tensor, with c repeated along
    the inner axes and joined to the last one: the encoder
    [batch, ..., channels + condition_dim], the decoder
    [batch, latent_dim + condition_dim].

    `given(c)` is the model of x alone for one c, for whatever takes such a model.

    Args:
        encoder: Maps x joined with c to q(z|x, c), as of DecompositionVAE.
        decoder: Maps z joined with c to p(x|z, c), as of DecompositionVAE.
        prior: As of DecompositionVAE, but no VampPrior, which encodes x alone.
        condition_dim: Length of c.
        **kwargs: As of DecompositionVAE.

    Raises:
        InputError: As of DecompositionVAE, `condition_dim` is no whole number >= 1, or
            the prior needs an encoder of x alone.

    Example:
        >>> networks = MLPEncoder(2), MLPDecoder(3)
        >>> vae = ConditionalVAE(*networks, NormalPrior(2), condition_dim=10)
        >>> vae.compile("adam")
        >>> vae.fit(x, keras.utils.to_categorical(labels, 10), epochs=10)
        >>> vae.generate(5, c=np.eye(10)[3])
    """

    _condition_dim: int

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: Prior | tfd.Distribution,
        *,
        condition_dim: int,
        **kwargs: Any,
    ) -> None:
        # The networks are built with it.
        self._condition_dim = check_whole_number("condition_dim", condition_dim, 1)
        if isinstance(prior, Prior) and type(prior).connect is not Prior.connect:
            raise InputError(
                "prior: expected one without an encoder, since that of this model "
                f"takes conditions too; received a {type(prior).__name__}, take another"
            )
        super().__init__(encoder, decoder, prior, **kwargs)

    @property
    def condition_dim(self) -> int:
        """Length of c."""
        return self._condition_dim

    def given(self, c: Any) -> DecompositionVAE:
        """Returns the model of x for one c, with the same weights.

        It exports, saves, draws, generates and is judged as any DecompositionVAE, of
        data that have this c; training it trains the weights of both.

        Args:
            c: [condition_dim].

        Raises:
            InputError: `c` is of another shape, or not finite.

        Example:
            >>> export_saved_model(vae.given(np.eye(10)[3]), "saved_models/threes/1")
        """
        try:
            numbers = np.asarray(c, "float64")
        except (TypeError, ValueError):  # texts, or rows of several lengths
            numbers = np.full([], np.nan)
        if numbers.shape != (self.condition_dim,) or not np.isfinite(numbers).all():
            raise InputError(
                f"given: expected one condition [{self.condition_dim}] of finite "
                f"numbers; received {short(c)}"
            )
        return DecompositionVAE(
            GivenCondition(self.encoder, numbers.tolist()),
            GivenCondition(self.decoder, numbers.tolist()),
            self.prior,
            alpha=self.number(self.alpha),
            beta=self.number(self.beta),
            divergence=self.divergence,
            num_samples=self.num_samples,
            seed=self.seed,
        )

    # -- the networks ------------------------------------------------------------------

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Returns posterior means [batch, latent_dim].

        Args:
            inputs: (x, c), [batch, *data_shape] and [batch, condition_dim].
            training: Whether layers behave as in training.
        """
        if not isinstance(inputs, tuple | list) or len(inputs) != 2:
            raise InputError(
                "call: expected (x, c), examples and their conditions; received "
                f"{kind_of(inputs)}"
            )
        x = self._examples(inputs[0])
        return self._means_of(x, self._conditions("call", inputs[1], x), training)

    def encode(self, x: tf.Tensor, c: Any = None) -> tfd.Distribution:
        """Returns q(z|x, c), batch shape [batch], as `DecompositionVAE.encode`.

        Args:
            x: [batch, *data_shape].
            c: [batch, condition_dim], or [condition_dim] for all alike.

        Raises:
            InputError: There are no such conditions.
        """
        x = self._examples(x)
        return self._encoded(x, self._conditions("encode", c, x))

    def decode(self, z: tf.Tensor, c: Any = None) -> tfd.Distribution:
        """Returns p(x|z, c), batch shape [batch].

        Args:
            z: [batch, latent_dim].
            c: As of `encode`.

        Raises:
            InputError: There are no such conditions.
        """
        z = as_tensor("latents", z, (self.latent_dim,), self.variable_dtype)
        c = self._conditions("decode", c, z)
        return self._likelihood_of(z, c, training=False)

    def generate(
        self, n: int, sample: bool = False, seed: int | None = None, c: Any = None
    ) -> tf.Tensor:
        """Returns n data [n, *data_shape] given c, decoded from prior samples.

        Args:
            n: How many.
            sample: As of `DecompositionVAE.generate`.
            seed: As of `DecompositionVAE.generate`.
            c: [n, condition_dim], or [condition_dim] for all alike.

        Raises:
            InputError: As of `DecompositionVAE.generate`, or there are no such
                conditions.
        """
        latents = self._prior_samples(n, seed)
        c = self._conditions("generate", c, latents)
        return self._decoded(latents, sample, seed, c)

    def reconstruct(
        self,
        x: tf.Tensor,
        sample: bool = False,
        seed: int | None = None,
        c: Any = None,
    ) -> tf.Tensor:
        """Returns reconstructions [batch, *data_shape] of x given c.

        Args:
            x: [batch, *data_shape].
            sample: As of `DecompositionVAE.reconstruct`.
            seed: As of `DecompositionVAE.reconstruct`.
            c: As of `encode`.

        Raises:
            InputError: There are no such conditions.
        """
        c = self._conditions("reconstruct", c, self._examples(x))
        return self._reconstructed(x, sample, seed, c)

    def _posterior_of(
        self, x: tf.Tensor, c: tf.Tensor | None, training: bool
    ) -> tfd.Distribution:
        return plain(self.encoder(_joined(x, c), training=training))

    def _likelihood_of(
        self, z: tf.Tensor, c: tf.Tensor | None, training: bool
    ) -> tfd.Distribution:
        return plain(self.decoder(_joined(z, c), training=training))

    def _conditions(self, name: str, c: Any, rows: tf.Tensor) -> tf.Tensor:
        """Returns conditions [n, condition_dim] of rows [n, ...], one for each."""
        if c is not None and not tf.is_tensor(c):
            c = np.asarray(c)
        if c is not None and tuple(c.shape) == (self.condition_dim,):
            c = tf.repeat(c[None], tf.shape(rows)[0], axis=0)
        check_conditions(name, c, self.condition_dim, rows)
        return tf.cast(c, self.variable_dtype)

    # -- Keras's methods ---------------------------------------------------------------

    def predict(self, x: Any, c: Any = None, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns posterior means [n, latent_dim].

        Args:
            x: Arrays [n, *data_shape], or data of batches (x, c).
            c: Beside arrays, [n, condition_dim].
            *args: As of `keras.Model.predict`, after x.
            **kwargs: As of `keras.Model.predict`.

        Raises:
            InputError: The data are of another shape or kind.
        """
        steps = args[2] if len(args) > 2 else kwargs.get("steps")
        x = checked_data("predict", x, c, self._form, steps)
        both = x if c is None else (x, c)
        return keras.Model.predict(self, both, *args, **kwargs)

    def predict_step(self, data: Any) -> tf.Tensor:
        """Returns posterior means of a batch ((x, c),) or (x, c)."""
        while len(data) == 1:
            data = data[0]
        return self(tuple(data[:2]), training=False)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Exports `call`, (x, c) -> posterior means, as Keras does.

        `tf_decomp.export_saved_model` gives all signatures: scales, decoder, prior.

        Args:
            filepath: As of `keras.Model.export`.
            *args: As of `keras.Model.export`.
            **kwargs: As of `keras.Model.export`.
        """
        shapes = self.data_shape, (self.condition_dim,)
        if kwargs.get("input_signature") is None:
            specs = [
                keras.InputSpec(dtype=self.variable_dtype, shape=(None, *shape))
                for shape in shapes
            ]
            kwargs["input_signature"] = [tuple(specs)]
        self(tuple(np.zeros([1, *shape]) for shape in shapes))
        keras.Model.export(self, filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, alpha and beta as they are now."""
        return {**super().get_config(), "condition_dim": self.condition_dim}


@_register
class GivenCondition(keras.Model):
    """A network of x or z joined with c as one of x or z, for one c.

    Args:
        network: Takes [batch, ..., size + condition_dim].
        condition: Its numbers.
        **kwargs: Arguments of `keras.Model`.

    Example:
        >>> GivenCondition(vae.decoder, [0.0, 1.0])(z)  # p(x|z, c)
    """

    def __init__(
        self, network: keras.Model, condition: Sequence[float], **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": network.dtype_policy, **kwargs})
        self.network, self._condition = network, list(condition)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Returns what the network makes of its inputs and the condition."""
        c = tf.constant([self._condition], inputs.dtype)
        c = tf.repeat(c, tf.shape(inputs)[0], axis=0)
        return self.network(_joined(inputs, c), training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {"name": self.name, "network": network, "condition": self._condition}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "GivenCondition":
        """Builds the network that `get_config` described."""
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(**{**config, "network": network})


def _joined(values: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    """Returns [n, ..., m + condition_dim] of values [n, ..., m] and c [n, ...]."""
    inner = values.shape[1:-1].as_list()
    n, dim = tf.shape(c)[0], c.shape[-1]
    c = tf.reshape(c, [n, *[1] * len(inner), dim])
    return tf.concat([values, tf.broadcast_to(c, [n, *inner, dim])], axis=-1)
