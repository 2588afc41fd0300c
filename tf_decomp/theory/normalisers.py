# SPDX-License-Identifier: Apache-2.0
"""log F_beta = log of the integral of p(z)^beta, where no closed form is known."""

import itertools
from collections.abc import Callable

import numpy as np
import scipy.special
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.priors import ReparameterisedMixture
from tf_decomp.sampling import of_tfp, stateless_seed

# exp(-40) = 4e-18 of the largest value is below float64's rounding.
_NEGLIGIBLE = 40.0
_MAX_EXPANSION_NUMBERS = 2e7

_Integrand = Callable[[np.ndarray], np.ndarray]


def factorised_log_normaliser(p: tfd.Independent, beta: float) -> float:
    """Returns log F_beta of a product of scalar densities, by quadrature in each.

    Tested to 1e-8 in float64; in float32 it stops at changes below 1e-6.

    Args:
        p: Independent of a scalar family, event shape [latent_dim].
        beta: Power of the density.

    Raises:
        InputError: The integral does not converge.

    Example:
        >>> factorised_log_normaliser(SpikeAndSlabPrior(2).distribution, 2.0)
    """
    inner = p.distribution
    centre, spread = _location(p)

    def integrand(u: np.ndarray) -> np.ndarray:
        z = centre + spread * np.sinh(u)
        log_p = _log_prob(inner, np.broadcast_to(z, [len(u), len(centre)]))
        return beta * log_p + np.log(spread) + _log_cosh(u)

    return float(np.sum(_log_integral(integrand, 1, _tolerance(p))))


def joint_log_normaliser(p: tfd.Distribution, beta: float) -> float:
    """Returns log F_beta by quadrature over one or two dimensions.

    Args:
        p: Event shape [1] or [2].
        beta: Power of the density.

    Raises:
        InputError: There are more dimensions, or the integral does not converge.

    Example:
        >>> joint_log_normaliser(NormalMixturePrior([[0, 1]], 0.1).distribution, 2.0)
    """
    dims = int(p.event_shape[0])
    if dims > 2:
        raise InputError(
            f"anneal: quadrature takes latent_dim <= 2; received {dims}, use "
            "method='monte_carlo'"
        )
    centre, spread = _location(p)

    def integrand(u: np.ndarray) -> np.ndarray:
        log_p = _log_prob(p, centre + spread * np.sinh(u))
        value = beta * log_p + np.sum(np.log(spread) + _log_cosh(u), axis=1)
        return value[:, None]

    return float(_log_integral(integrand, dims, _tolerance(p))[0])


def expanded_log_normaliser(p: tfd.Distribution, beta: int) -> float | None:
    """Returns log F_beta of a mixture of normals to a whole power, exactly.

    The multinomial expansion of (sum_k w_k N_k)^beta: each product of normals has a
    closed-form integral.

    Args:
        p: Mixture or MixtureSameFamily.
        beta: A whole number >= 1.

    Returns:
        None where p is no mixture of normals or has too many terms.

    Example:
        >>> expanded_log_normaliser(NormalMixturePrior([[0, 1]], 0.1).distribution, 2)
    """
    parts = _normal_components(p)
    if parts is None:
        return None
    weights, locs, covariances = parts
    count, dims = locs.shape
    terms = scipy.special.comb(beta + count - 1, beta)
    if terms * dims**2 > _MAX_EXPANSION_NUMBERS:
        return None
    chosen = itertools.combinations_with_replacement(range(count), beta)
    powers = np.array([np.bincount(each, minlength=count) for each in chosen], float)
    precisions = np.linalg.inv(covariances)
    weighted = np.einsum("kij,kj->ki", precisions, locs)
    # log N_k(z) = constant_k + weighted_k' z - z' precision_k z / 2
    constants = 0.5 * np.linalg.slogdet(precisions)[1]
    constants -= 0.5 * (np.sum(weighted * locs, axis=1) + dims * np.log(2 * np.pi))
    precision = np.einsum("tk,kij->tij", powers, precisions)
    slope = powers @ weighted
    solved = np.linalg.solve(precision, slope[..., None])[..., 0]
    logs = powers @ (constants + np.log(weights)) + 0.5 * np.sum(slope * solved, axis=1)
    logs += 0.5 * (dims * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])
    logs += scipy.special.gammaln(beta + 1)
    logs -= np.sum(scipy.special.gammaln(powers + 1), axis=1)
    return float(scipy.special.logsumexp(logs))


def sampled_log_normaliser(
    p: tfd.Distribution, beta: float, num_samples: int, seed: int | None
) -> tuple[float, float]:
    """Returns log E_p[p(z)^(beta - 1)] by Monte Carlo, and its standard error.

    The logarithm of an unbiased mean, so biased downwards by about half its squared
    standard error. For small beta the mean may have no finite variance; its standard
    error then says too little.

    Args:
        p: Event shape [latent_dim], with a sampler.
        beta: Power of the density.
        num_samples: Samples of p, at least 2.
        seed: Same seed, same result.

    Example:
        >>> sampled_log_normaliser(StudentTPrior(10, 5.0).distribution, 2.0, 1000, 0)
    """
    z = p.sample(num_samples, seed=stateless_seed(seed))
    logs = (beta - 1) * p.log_prob(z).numpy().astype(float)
    top = logs.max()
    ratios = np.exp(logs - top)
    error = ratios.std(ddof=1) / np.sqrt(num_samples) / ratios.mean()
    return float(top + np.log(ratios.mean())), float(error)


def _log_integral(integrand: _Integrand, dims: int, tolerance: float) -> np.ndarray:
    """Returns logs [k] of integrals over u, whose logs the integrand gives as [n, k].

    Ten-point Gauss-Legendre on ever more panels, until two results agree. Zero is a
    panel's edge, so that a kink at the centre does no harm.
    """
    limit = _limit(integrand, dims)
    points, weights = np.polynomial.legendre.leggauss(10)
    previous = np.array([np.inf])
    for panels in 2 ** (np.arange(5, 13) if dims == 1 else np.arange(4, 8)):
        half = limit / panels
        middles = np.linspace(-limit, limit, 2 * panels + 1)[1::2]
        u = (middles[:, None] + half * points).ravel()
        log_weights = np.log(np.tile(half * weights, panels))
        logs = integrand(_product(u, dims))
        logs = logs + np.sum(_product(log_weights, dims), axis=1)[:, None]
        value = scipy.special.logsumexp(logs, axis=0)
        if np.max(np.abs(value - previous)) < tolerance:
            return value
        previous = value
    raise InputError(
        "anneal: the quadrature of p(z)^beta did not settle; the density is too "
        "narrow or not smooth, use method='monte_carlo'"
    )


def _limit(integrand: _Integrand, dims: int) -> float:
    """Returns the half-width of a box in u outside which nothing is left."""
    for limit in range(3, 80):
        u = _product(np.linspace(-limit, limit, 8 * limit * (3 - dims) + 1), dims)
        logs = integrand(u)
        edge = np.any(np.abs(u) == limit, axis=1)
        if np.all(logs[edge].max(0) < logs.max(0) - _NEGLIGIBLE):
            return float(limit)
    raise InputError(
        "anneal: p(z)^beta has no finite integral, or too heavy tails for quadrature; "
        "use a larger beta"
    )


def _product(u: np.ndarray, dims: int) -> np.ndarray:
    """Returns all points [n^dims, dims] of a grid."""
    return np.stack(np.meshgrid(*[u] * dims, indexing="ij"), -1).reshape(-1, dims)


def _log_cosh(u: np.ndarray) -> np.ndarray:
    return np.logaddexp(u, -u) - np.log(2)


def _log_prob(p: tfd.Distribution, z: np.ndarray) -> np.ndarray:
    return p.log_prob(tf.constant(z, p.dtype)).numpy().astype(float)


def _tolerance(p: tfd.Distribution) -> float:
    return 1e-10 if p.dtype == tf.float64 else 1e-6


def _location(p: tfd.Distribution) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation [latent_dim], 0 and 1 where there is none."""
    dims = int(p.event_shape[0])
    try:
        mean, spread = p.mean().numpy(), p.stddev().numpy()
    except (NotImplementedError, ValueError, tf.errors.InvalidArgumentError):
        return np.zeros(dims), np.ones(dims)
    usable = np.isfinite(mean) & np.isfinite(spread) & (spread > 0)
    mean, spread = np.where(usable, mean, 0), np.where(usable, spread, 1)
    return mean.astype(float), spread.astype(float)


def _normal_components(
    p: tfd.Distribution,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Returns weights [k], means [k, d] and covariances [k, d, d]."""
    if type(p) in (tfd.MixtureSameFamily, ReparameterisedMixture):
        parts, weights = [p.components_distribution], p.mixture_distribution
    elif type(p) is tfd.Mixture:
        parts, weights = p.components, p.cat
    else:
        return None
    if not all(is_normal(part) for part in parts):
        return None
    dims = int(p.event_shape[0])
    locs = [part.mean().numpy().reshape(-1, dims) for part in parts]
    covariances = [covariance(part).reshape(-1, dims, dims) for part in parts]
    shares = weights.probs_parameter().numpy().astype(float)
    return shares, np.concatenate(locs).astype(float), np.concatenate(covariances)


def is_normal(p: tfd.Distribution) -> bool:
    """Returns whether p is a multivariate normal of TFP's or Independent of normals.

    Args:
        p: Any distribution.
    """
    if type(p) is tfd.Independent:
        return type(p.distribution) is tfd.Normal
    return isinstance(p, tfd.MultivariateNormalLinearOperator) and of_tfp(p)


def covariance(p: tfd.Distribution) -> np.ndarray:
    """Returns covariances [..., latent_dim, latent_dim] of what `is_normal` takes.

    Args:
        p: A normal.
    """
    if isinstance(p, tfd.Independent):
        variances = np.square(p.stddev().numpy().astype(float))
        return variances[..., None] * np.eye(variances.shape[-1])
    return p.covariance().numpy().astype(float)
