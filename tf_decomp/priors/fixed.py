# SPDX-License-Identifier: Apache-2.0
"""Any fixed TFP distribution as a prior, and its plain config."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior
from tf_decomp.sampling import of_tfp


@keras.saving.register_keras_serializable("tf_decomp")
class FixedPrior(Prior):
    """Any fixed TFP distribution as a prior.

    Args:
        distribution: Batch shape [], event shape [latent_dim]; no trainable
            variables. For the round trip through a config it must be made of
            `tfp.distributions` classes with plain parameters, nested or not.

    Raises:
        InputError: The shapes or the variables are not so.

    Example:
        >>> FixedPrior(tfd.Independent(tfd.Laplace(tf.zeros(3), 1.0), 1))
    """

    def __init__(self, distribution: tfd.Distribution, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(distribution, Mapping):
            distribution = _decode(distribution)
        if not isinstance(distribution, tfd.Distribution):
            raise InputError(
                "FixedPrior: expected a distribution of tfp.distributions; received a "
                f"{type(distribution).__name__}"
            )
        if distribution.batch_shape.rank != 0 or distribution.event_shape.rank != 1:
            raise InputError(
                "prior: expected a distribution with batch shape [] and event shape "
                f"[latent_dim]; received batch {distribution.batch_shape} and event "
                f"{distribution.event_shape}, wrap it in tfd.Independent"
            )
        if distribution.trainable_variables:
            raise InputError(
                "prior: a tf.Variable inside a TFP distribution would never train; "
                "subclass tf_decomp.Prior, which owns its weights"
            )
        self._distribution = distribution

    @property
    def distribution(self) -> tfd.Distribution:
        """The distribution as it was given."""
        return self._distribution

    def get_config(self) -> dict[str, Any]:
        """The distribution as nested dictionaries of its plain parameters.

        Raises:
            InputError: It is not made of `tfp.distributions` with plain parameters.
        """
        return {**super().get_config(), "distribution": _encode(self._distribution)}


def as_prior(prior: Prior | tfd.Distribution) -> Prior:
    """Returns a Prior as it is, a fixed distribution wrapped.

    Args:
        prior: A Prior or a distribution with event shape [latent_dim].

    Raises:
        InputError: It is neither.
    """
    if isinstance(prior, Prior):
        return prior
    if isinstance(prior, tfd.Distribution):
        return FixedPrior(prior)
    raise InputError(
        "prior: expected a tf_decomp.Prior or a tfp.distributions.Distribution; "
        f"received {type(prior).__name__}"
    )


def _encode(value: Any) -> Any:
    """Returns a distribution's parameter as what JSON holds."""
    if isinstance(value, tfd.Distribution):
        name = type(value).__name__.lstrip("_")
        # A user's class may have the name of TFP's.
        if not (of_tfp(value) and hasattr(tfd, name)):
            raise _unplain(value)
        given = {k: v for k, v in value.parameters.items() if k != "name"}
        return {
            "distribution": name,
            "parameters": {k: _encode(given[k]) for k in given},
        }
    if isinstance(value, tf.Tensor | np.ndarray | np.generic):
        array = np.asarray(value)
        return {"array": array.tolist(), "dtype": array.dtype.name}
    if isinstance(value, tf.DType):
        return {"dtype": value.name}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _unplain(value)


def _decode(value: Any) -> Any:
    """Returns what `_encode` was given; names outside tfp.distributions are refused."""
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "array" in value:
        return np.array(value["array"], value["dtype"])
    if "distribution" not in value:
        return tf.as_dtype(value["dtype"])
    family = getattr(tfd, value["distribution"], None)
    if not (isinstance(family, type) and issubclass(family, tfd.Distribution)):
        raise InputError(
            f"prior: {value['distribution']} is no tfp.distributions class"
        )
    return family(**{k: _decode(v) for k, v in value["parameters"].items()})


def _unplain(value: Any) -> InputError:
    return InputError(
        f"prior: a {type(value).__name__} inside a distribution has no plain config; "
        "subclass tf_decomp.Prior (with get_config) to save the model"
    )
