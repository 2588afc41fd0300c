# SPDX-License-Identifier: Apache-2.0
"""The prior of any smooth density: a normalising flow."""

from collections.abc import Sequence
from typing import Any

import keras
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_sizes, check_weights, check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.priors.base import Prior, check_latent_dim
from tf_decomp.priors.couplings import CoupledNormal, Coupling, coupling_weights


@keras.saving.register_keras_serializable("tf_decomp")
class FlowPrior(Prior):
    """RealNVP (Dinh et al. 2017): a standard normal behind learnt affine couplings.

    In turn, the odd dimensions are shifted and scaled by networks of the even ones,
    and the even ones by networks of the odd ones. Densities and samples are exact,
    samples reparameterised. It starts as the standard normal.

    Args:
        latent_dim: Number of latent dimensions, at least 2.
        num_couplings: How many couplings follow each other, at least 2, so that all
            dimensions change.
        hidden: Units of the hidden layers of each coupling's network.

    Raises:
        InputError: A number is out of range, or the networks do not fit the memory.

    Example:
        >>> FlowPrior(2, num_couplings=4).distribution.log_prob(tf.zeros([5, 2]))
    """

    def __init__(
        self,
        latent_dim: int,
        num_couplings: int = 6,
        hidden: Sequence[int] = (64,),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        latent_dim = check_latent_dim(self, latent_dim)
        if latent_dim < 2:
            raise InputError(
                "FlowPrior: latent_dim must be >= 2, since a coupling changes some "
                f"dimensions by others; received {latent_dim}"
            )
        self._config: dict[str, Any] = {
            "latent_dim": latent_dim,
            "num_couplings": check_whole_number(
                "FlowPrior: num_couplings", num_couplings, 2, 1000
            ),
            "hidden": list(check_sizes("FlowPrior: hidden", hidden)),
        }
        halves = range(0, latent_dim, 2), range(1, latent_dim, 2)
        count = coupling_weights(len(halves[0]), len(halves[0]), self._config["hidden"])
        check_weights("FlowPrior", self._config["num_couplings"] * count)
        self.couplings = [
            Coupling(
                latent_dim,
                halves[k % 2],
                halves[1 - k % 2],
                self._config["hidden"],
                self.variable_dtype,
            )
            for k in range(self._config["num_couplings"])
        ]

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self._config["latent_dim"]

    @property
    def distribution(self) -> tfd.Distribution:
        """The flow's density and sampler."""
        return CoupledNormal(self.couplings, self.latent_dim, self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}
