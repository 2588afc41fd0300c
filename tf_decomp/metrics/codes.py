# SPDX-License-Identifier: Apache-2.0
"""Codes by themselves: checks, active dimensions, samples, maps to normal scores."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from tf_decomp.checks import short
from tf_decomp.errors import InputError

# A share of 0.01 is 0.005 nats of a normal dimension: with a thousand data nobody
# could use less, and networks leave 0.001 to 0.008 in dimensions that they gave up.
ACTIVE_SHARE = 0.01


def as_array(value: ArrayLike, name: str) -> np.ndarray:
    """Returns an argument as an array.

    Args:
        value: What was given.
        name: Of the argument.

    Raises:
        InputError: it is ragged, has masked values, or is no array at all.
    """
    if np.ma.is_masked(value):
        raise InputError(
            f"{name} must have a value everywhere; received masked ones; fill them or "
            "leave these rows out"
        )
    try:
        return np.asarray(value)
    except Exception as error:  # whatever a stranger's conversion may raise
        raise InputError(
            f"{name} must be an array of numbers; received {short(value)} "
            f"({type(error).__name__})"
        ) from error


def check_codes(codes: ArrayLike, name: str = "codes") -> np.ndarray:
    """Returns codes [n, latent_dim] as a finite array of their own float type.

    Integers, and floats of more than 64 bits, become float64.

    Args:
        codes: What was given.
        name: Of the argument.

    Raises:
        InputError: the shape or the type is another, or a value is not finite.
    """
    array = as_array(codes, name)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} must be a float array [n, latent_dim]; received "
            f"{array.dtype} {list(array.shape)}; pass one row for each datum"
        )
    if array.dtype.kind != "f" or array.itemsize > 8:
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise InputError(
            f"{name} must be finite; received {bad} values that are not; "
            "mend the encoder or leave these rows out"
        )
    return array


def standard_deviations(codes: np.ndarray) -> np.ndarray:
    """Returns [latent_dim] standard deviations, exactly 0 where only rounding varies.

    A spread of a few units in the last place of the codes' own type is rounding.
    """
    resolution = np.finfo(codes.dtype).eps
    magnitude = np.abs(codes).max(axis=0).astype(np.float64)
    # Relative to the magnitude no square overflows or underflows.
    relative = codes / np.where(magnitude > 0.0, magnitude, 1.0)
    constant = np.ptp(relative, axis=0) <= 8.0 * resolution
    return np.where(constant, 0.0, magnitude * relative.std(axis=0))


def active_dimensions(
    codes: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    posterior_scales: ArrayLike | None = None,
) -> np.ndarray:
    """Returns which dimensions carry anything: the one rule of all metrics.

    Dimension d of posterior means mu and scales sigma is active when

        Var(mu_d) / (Var(mu_d) + E[sigma_d^2]) >= 0.01,

    moments over the data: the share of the variance of q(z_d) that tells data apart,
    0.005 nats of a normal dimension. It does not change with the unit of a dimension,
    and no dimension changes another's. From codes alone a collapsed dimension cannot
    be told from a small one: only what is constant to rounding is then inactive.

    Args:
        codes: [n, latent_dim] encodings, e.g. posterior means.
        scale: standard deviation of the noise about the codes where it is the same
            for all data, a number or [latent_dim].
        posterior_scales: [n, latent_dim] standard deviations of q(z_d|x).

    Returns:
        [latent_dim] bool.

    Raises:
        InputError: an argument is unusable, or both scales are given.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 9.0, 1e-3]
        >>> active_dimensions(codes, posterior_scales=np.ones((100, 3))).tolist()
        [True, True, False]
    """
    return tell_active(check_codes(codes), scale, posterior_scales)[0]


def tell_active(
    codes: np.ndarray, scale: ArrayLike | None, posterior_scales: ArrayLike | None
) -> tuple[np.ndarray, str]:
    """Returns `active_dimensions` of checked codes, and what they are known from."""
    noise, judged_by = _noise(codes, scale, posterior_scales)
    deviations = standard_deviations(codes)
    least = (ACTIVE_SHARE / (1.0 - ACTIVE_SHARE)) ** 0.5
    return (deviations > 0.0) & (deviations >= least * noise), judged_by


def sample_codes(codes: np.ndarray, scales: ArrayLike, seed: int) -> np.ndarray:
    """Returns codes [n, latent_dim] with normal noise of these scales."""
    noise = np.random.default_rng([seed, 1]).standard_normal(codes.shape)
    return codes + np.asarray(scales) * noise


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
    if not (callable(cdf) and (survival is None or callable(survival))):
        raise InputError(
            f"cdf and survival must be functions; received {short(cdf)} and "
            f"{short(survival)}; pass scipy.stats.t(df=9).cdf, say"
        )
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


def _noise(
    codes: np.ndarray, scale: ArrayLike | None, posterior_scales: ArrayLike | None
) -> tuple[np.ndarray, str]:
    """Returns the root of E[sigma_d^2] [latent_dim], and what it is known from."""
    if posterior_scales is None:
        if scale is None:
            return np.zeros(codes.shape[1]), "codes alone"
        return _check_noise_scale(scale, codes.shape[1]), "scale"
    if scale is not None:
        raise InputError(
            "scale and posterior_scales both say how wide the posteriors are; pass one"
        )
    scales = check_posterior_scales(posterior_scales, codes.shape)
    largest = scales.max(axis=0)
    # Relative to the largest no square overflows or underflows.
    relative = scales / np.where(largest > 0.0, largest, 1.0)
    return largest * np.sqrt((relative**2).mean(axis=0)), "posterior scales"


def check_posterior_scales(
    posterior_scales: ArrayLike,
    shape: tuple[int, ...],
    name: str = "posterior_scales",
) -> np.ndarray:
    """Returns the standard deviations of posteriors as float64.

    Args:
        posterior_scales: What was given.
        shape: Of the codes.
        name: Of the argument.

    Raises:
        InputError: they have another shape, are not finite, or one is negative.
    """
    scales = as_array(posterior_scales, name)
    usable = scales.shape == shape and scales.dtype.kind in "fiu"
    if not usable or not np.isfinite(scales).all() or (scales < 0).any():
        raise InputError(
            f"{name} must be standard deviations {list(shape)}, finite "
            f"and not negative; received {scales.dtype} {list(scales.shape)}; pass "
            "the posterior's stddev()"
        )
    return scales.astype(np.float64)


def _check_noise_scale(scale: ArrayLike, latent_dim: int) -> np.ndarray:
    """Returns standard deviations [latent_dim] of the noise about the codes."""
    noise = as_array(scale, "scale")
    usable = noise.shape in ((), (latent_dim,)) and noise.dtype.kind in "fiu"
    if not usable or not (np.isfinite(noise) & (noise > 0.0)).all():
        raise InputError(
            f"scale must be a positive number or [{latent_dim}] of them; "
            f"received {short(noise.tolist())}; "
            "pass the standard deviation of the noise about the codes"
        )
    return np.broadcast_to(noise.astype(np.float64), (latent_dim,))
