# SPDX-License-Identifier: Apache-2.0
"""The form in which a model calls its divergence."""

from collections.abc import Callable
from typing import Any

import keras


def in_calling_form(
    function: Callable[..., Any], call: Callable[..., Any], least_batch: int = 1
) -> Callable[..., Any]:
    """Returns a call as the divergence of a function, registered with Keras.

    Args:
        function: Whose name, followed by `_divergence`, the divergence has.
        call: Maps posterior (batch shape [B], event shape [latent_dim]), prior (batch
            shape []), latents [B, latent_dim], one sample of each posterior, and
            prior_samples [B, latent_dim] to D [].
        least_batch: The smallest B of which there is such a divergence; models refuse
            others.

    Example:
        >>> in_calling_form(dip_vae_i, lambda posterior, *_: dip_vae_i(posterior))
    """
    call.__name__ = call.__qualname__ = f"{function.__name__}_divergence"
    call.__module__ = function.__module__
    call.least_batch = least_batch  # type: ignore[attr-defined]
    call.__doc__ = f"Returns `{function.__name__}` in the calling form of DIVERGENCES."
    return keras.saving.register_keras_serializable("tf_decomp")(call)
