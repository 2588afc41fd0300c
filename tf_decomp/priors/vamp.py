# SPDX-License-Identifier: Apache-2.0
"""The prior that is a mixture of the encoder's own posteriors."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_weights, finite_numbers, short
from tf_decomp.errors import InputError
from tf_decomp.posteriors import aggregate_posterior
from tf_decomp.priors.base import Prior, check_latent_dim


@keras.saving.register_keras_serializable("tf_decomp")
class VampPrior(Prior):
    """p(z) = (1/K) sum_k q(z|u_k), of K learnt pseudo-inputs u_k: Tomczak & Welling.

    From "VAE with a VampPrior" (2018). q is the encoder of the model whose prior this
    is, which DecompositionVAE hands over when it is made. The encoder then learns
    through the prior too, but its weights are the model's alone. Pseudo-inputs are
    encoded as in evaluation (moving averages of batch normalisation, no dropout), in
    training too: p(z) depends on weights alone.

    A mixture component is a posterior of any family. Samples have the exact gradient
    of the component that was chosen; its choice depends on no weight.

    Args:
        latent_dim: Number of latent dimensions.
        pseudo_inputs: [K, *data_shape] where the pseudo-inputs start, as random
            examples of the data.

    Raises:
        InputError: `latent_dim` is no whole number >= 1, `pseudo_inputs` is no finite
            array of one or more data, the data have another shape, a second model is
            made with this prior, or `distribution` is asked for before there is an
            encoder.

    Example:
        >>> prior = VampPrior(2, pseudo_inputs=x[:50])
        >>> vae = DecompositionVAE(MLPEncoder(2), MLPDecoder(3), prior)
        >>> prior.distribution.sample(10)
    """

    def __init__(self, latent_dim: int, pseudo_inputs: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._latent_dim = check_latent_dim(self, latent_dim)
        if isinstance(pseudo_inputs, Mapping):
            pseudo_inputs = _unpacked(pseudo_inputs)
        values = finite_numbers(pseudo_inputs, self.variable_dtype)
        if values is None or values.ndim < 2 or not values.size:
            raise InputError(
                "VampPrior: pseudo_inputs must be finite numbers [num_pseudo_inputs, "
                "*data_shape], as some examples of the data; received "
                f"{short(pseudo_inputs)}"
            )
        check_weights("VampPrior: pseudo_inputs", values.size)
        self._start = values.astype(self.variable_dtype)
        self._pseudo_inputs = self._learnt("pseudo_inputs", self._start)
        self._encode: Callable[[tf.Tensor], tfd.Distribution] | None = None
        self._encoder_id: int | None = None

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self._latent_dim

    @property
    def learns(self) -> bool:
        """True, since the encoder learns, also where the pseudo-inputs are frozen."""
        return True

    @property
    def pseudo_inputs(self) -> keras.Variable:
        """[K, *data_shape] pseudo-inputs, a weight."""
        return self._pseudo_inputs

    @property
    def distribution(self) -> tfd.Distribution:
        """MixtureSameFamily of the pseudo-inputs' posteriors, with equal weights."""
        if self._encode is None:
            raise InputError(
                "VampPrior: expected the encoder of a model, of which this prior is "
                "made; there is none yet: make a DecompositionVAE with it first"
            )
        return aggregate_posterior(self._encode(self._pseudo_inputs.value))

    def connect(
        self, encoder: Callable[..., tfd.Distribution], data_shape: tuple[int, ...]
    ) -> None:
        """Takes the encoder whose posteriors are the mixture's components.

        Args:
            encoder: x [n, *data_shape], training -> q(z|x).
            data_shape: Of one datum.

        Raises:
            InputError: The pseudo-inputs have another shape, or this prior is
                another model's.
        """
        if self._encoder_id not in (None, id(encoder)):
            raise InputError(
                "VampPrior: expected a prior of this model alone; received one that "
                "has the encoder of another; make a VampPrior for each model"
            )
        shape = tuple(self._pseudo_inputs.shape[1:])
        if shape != tuple(data_shape):
            raise InputError(
                f"VampPrior: pseudo_inputs must be of the data's shape "
                f"{list(data_shape)} each; received {list(shape)}, take examples of "
                "the data"
            )
        # Keras and TensorFlow do not look into a function for layers.
        self._encode = lambda x: encoder(x, training=False)
        self._encoder_id = id(encoder)  # the function keeps it alive

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, the pseudo-inputs as they were at the start."""
        return {
            **super().get_config(),
            "latent_dim": self._latent_dim,
            "pseudo_inputs": _packed(self._start),
        }


def _packed(values: np.ndarray) -> dict[str, Any]:
    """Returns an array as JSON holds it: as lists, images would take minutes."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {
        "shape": list(values.shape),
        "dtype": values.dtype.name,
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    dtype = np.dtype(packed["dtype"]).newbyteorder("<")
    values = np.frombuffer(base64.b64decode(packed["base64"]), dtype)
    return values.reshape(packed["shape"])
