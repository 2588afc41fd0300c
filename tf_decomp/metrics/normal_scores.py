# SPDX-License-Identifier: Apache-2.0
"""Codes mapped through their prior to a standard normal."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from tf_decomp.errors import InputError
from tf_decomp.metrics.codes import check_codes


def normal_scores(
    codes: ArrayLike,
    cdf: Callable[[np.ndarray], np.ndarray],
    survival: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Maps codes through a prior's CDF to a standard normal, dimension by dimension.

    z -> Phi^{-1}(F(z)) is the optimal-transport map from the prior's marginal F to
    N(0, 1): scores of the mapped codes do not reward or punish heavy tails. Each half
    uses the smaller of F and 1 - F, so that no tail rounds to 1. A probability below
    the smallest float64 is set to it, which ends the map at +-38.

    Args:
        codes: [n, latent_dim] encodings.
        cdf: takes float64 [n, latent_dim] and returns F in float64, e.g.
            `scipy.stats.t(df=9).cdf`.
        survival: the same for 1 - F, accurate where it is small; by default
            `cdf(-codes)`, right for a prior that is symmetric about zero.

    Returns:
        [n, latent_dim] float64, finite.

    Raises:
        InputError: `codes` is unusable, the functions do not return float64
            probabilities, or they do not add up to 1.

    Example:
        >>> from scipy import stats
        >>> normal_scores([[3.0, -100.0]], stats.t(df=9).cdf).round(3).tolist()
        [[2.433, -7.825]]
    """
    latents = check_codes(codes).astype(np.float64)
    lower = np.asarray(cdf(latents))
    upper = np.asarray(cdf(-latents) if survival is None else survival(latents))
    if {lower.dtype, upper.dtype} != {np.dtype(np.float64)}:
        raise InputError(
            f"cdf and survival must return float64; received {lower.dtype} and "
            f"{upper.dtype}; a float32 tail overflows, so compute them in float64"
        )
    if lower.shape != latents.shape or not np.allclose(lower + upper, 1.0, 0.0, 1e-6):
        raise InputError(
            f"cdf and survival must return {list(latents.shape)} that add up to 1; "
            "received others; for a prior not symmetric about 0 give survival"
        )
    smallest = np.nextafter(0.0, 1.0)
    tail = ndtri(np.maximum(np.minimum(lower, upper), smallest))
    return np.where(lower <= upper, tail, -tail)
