# SPDX-License-Identifier: Apache-2.0
"""The annealed prior f_beta(z) = p(z)^beta / F_beta of Theorem 1."""

import dataclasses
from typing import Any

import numpy as np
import scipy.special
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.priors import LpNested, Prior, as_prior
from tf_decomp.sampling import of_tfp, stateless_seed
from tf_decomp.theory.normalisers import (
    expanded_log_normaliser,
    factorised_log_normaliser,
    is_normal,
    joint_log_normaliser,
    sampled_log_normaliser,
)

_METHODS = ("auto", "closed_form", "quadrature", "expansion", "monte_carlo")


@dataclasses.dataclass(frozen=True)
class AnnealedPrior:
    """f_beta(z) = p(z)^beta / F_beta, equation (3).

    Attributes:
        prior: p(z), as it was when it was annealed.
        beta: The power.
        log_normaliser: log F_beta = log of the integral of p(z)^beta.
        log_normaliser_standard_error: 0 unless it is a Monte Carlo estimate.
        method: How log F_beta was found.
        distribution: f_beta itself where its family is known, else None.

    Example:
        >>> anneal(StudentTPrior(2, df=5.0), beta=2.0).distribution.distribution.df
    """

    prior: tfd.Distribution
    beta: float
    log_normaliser: float
    log_normaliser_standard_error: float
    method: str
    distribution: tfd.Distribution | None

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Returns log f_beta(z) [...] of z [..., latent_dim], in the prior's dtype."""
        z = tf.cast(z, self.prior.dtype)
        if self.distribution is not None:
            return self.distribution.log_prob(z)
        return self.beta * self.prior.log_prob(z) - self.log_normaliser

    def sample(self, n: int, seed: int | None = None) -> tf.Tensor:
        """Returns samples [n, latent_dim].

        Args:
            n: How many.
            seed: Same seed, same result; None draws anew.

        Raises:
            InputError: The family of f_beta is not known.
        """
        if self.distribution is None:
            raise InputError(
                "AnnealedPrior.sample: expected a prior whose annealed form is normal, "
                "Student-t, Laplace or L^p-nested; received "
                f"{self.prior.name}, use log_prob"
            )
        return self.distribution.sample(n, seed=stateless_seed(seed))


def anneal(
    prior: Prior | tfd.Distribution,
    beta: float,
    method: str = "auto",
    num_samples: int = 100_000,
    seed: int | None = 0,
) -> AnnealedPrior:
    """Returns the annealed prior f_beta and log F_beta.

    In closed form for normal, Student-t, Laplace and L^p-nested priors and independent
    subspaces; by one-dimensional quadrature for other products; else by quadrature for
    latent_dim <= 2, by expansion for mixtures of normals to a whole power, and by
    Monte Carlo.

    Args:
        prior: A Prior (learnt ones as they are now), or a distribution of event
            shape [latent_dim].
        beta: The power, > 0.
        method: "auto", or one of closed_form, quadrature, expansion, monte_carlo.
        num_samples: Of the Monte Carlo estimate.
        seed: Of the Monte Carlo estimate.

    Raises:
        InputError: beta is not positive and finite, p(z)^beta has no finite integral
            (Student-t: beta (df + 1) <= 1), or the method does not fit the prior.

    Example:
        >>> anneal(NormalPrior(2), beta=4.0).sample(10, seed=0)
    """
    if not (np.isfinite(beta) and beta > 0):
        raise InputError(f"anneal: beta must be > 0 and finite; received {beta}")
    if method not in _METHODS:
        raise InputError(f"anneal: method must be of {_METHODS}; received {method!r}")
    if num_samples < 2:
        raise InputError(f"anneal: num_samples must be >= 2; received {num_samples}")
    p, beta = as_prior(prior).distribution, float(beta)
    closed = _closed_form(p, beta)
    if closed is not None and method in ("auto", "closed_form"):
        family, log_normaliser = closed
        return AnnealedPrior(p, beta, log_normaliser, 0.0, "closed_form", family)
    value, error, used = _numerical(p, beta, method, num_samples, seed)
    return AnnealedPrior(p, beta, value, error, used, closed[0] if closed else None)


def _numerical(
    p: tfd.Distribution, beta: float, method: str, num_samples: int, seed: int | None
) -> tuple[float, float, str]:
    """Returns log F_beta, its standard error and the method used."""
    independent = type(p) is tfd.Independent and not p.distribution.event_shape.rank
    auto = method == "auto"
    if method == "quadrature" or (auto and (independent or p.event_shape[0] <= 2)):
        integrate = factorised_log_normaliser if independent else joint_log_normaliser
        return integrate(p, beta), 0.0, "quadrature"
    if method == "expansion" or (auto and beta.is_integer()):
        value = expanded_log_normaliser(p, int(beta)) if beta.is_integer() else None
        if value is not None:
            return value, 0.0, "expansion"
    if method in ("closed_form", "expansion"):
        raise InputError(
            f"anneal: method={method!r} does not fit {p.name} at beta={beta:g}; use "
            "method='auto'"
        )
    return *sampled_log_normaliser(p, beta, num_samples, seed), "monte_carlo"


def _closed_form(
    p: tfd.Distribution, beta: float
) -> tuple[tfd.Distribution, float] | None:
    """Returns f_beta and log F_beta where p^beta stays in its family."""
    if _is_subspaces(p):
        return _anneal_subspaces(p, beta)
    if type(p) is LpNested:
        annealed = p.annealed(beta)
        return annealed, annealed.log_normaliser - beta * p.log_normaliser
    inner: Any = p.distribution if type(p) is tfd.Independent else None
    if type(inner) is tfd.StudentT:
        return _anneal_student_t(p, beta)
    if type(inner) is tfd.Laplace:
        loc, scale = inner.mean(), inner.scale * tf.ones_like(inner.mean())
        sizes = 2 * scale.numpy().astype(float)
        logs = (1 - beta) * np.log(sizes) - np.log(beta)
        return tfd.Independent(tfd.Laplace(loc, scale / beta), 1), float(logs.sum())
    if not is_normal(p):
        return None
    loc, dims = p.mean(), int(p.event_shape[0])
    # The family is kept, so that TFP's closed-form KLs to it stay available.
    if inner is not None:
        family = tfd.Independent(tfd.Normal(loc, p.stddev() / beta**0.5), 1)
        log_determinant = 2 * np.sum(np.log(p.stddev().numpy().astype(float)))
    elif type(p) is tfd.MultivariateNormalDiag:
        family = tfd.MultivariateNormalDiag(loc, p.stddev() / beta**0.5)
        log_determinant = 2 * np.sum(np.log(p.stddev().numpy().astype(float)))
    else:
        tril = tf.linalg.cholesky(p.covariance())
        family = tfd.MultivariateNormalTriL(loc, tril / beta**0.5)
        log_determinant = 2 * np.sum(np.log(np.diag(tril.numpy()).astype(float)))
    log_normaliser = (1 - beta) * (dims * np.log(2 * np.pi) + log_determinant)
    return family, float(0.5 * (log_normaliser - dims * np.log(beta)))


def _anneal_student_t(
    p: tfd.Independent, beta: float
) -> tuple[tfd.Distribution, float]:
    """Student-t again: df' = beta (df + 1) - 1, scale' = scale sqrt(df / df')."""
    inner = p.distribution
    ones = tf.ones(p.event_shape, p.dtype)
    df, scale = inner.df * ones, inner.scale * ones
    new_df = beta * (df + 1) - 1
    if not np.all(new_df > 0):
        raise InputError(
            "anneal: a Student-t prior needs beta (df + 1) > 1, else p(z)^beta has no "
            f"finite integral; received beta={beta:g}, df={np.min(df):g}"
        )
    new_scale = scale * tf.sqrt(df / new_df)
    family = tfd.Independent(tfd.StudentT(new_df, inner.loc * ones, new_scale), 1)
    logs = beta * _log_peak(df, scale) - _log_peak(new_df, new_scale)
    return family, float(logs.sum())


def _anneal_subspaces(
    p: tfd.TransformedDistribution, beta: float
) -> tuple[tfd.Distribution, float]:
    """As the Student-t, in each block of d: df' = beta (df + d) - d."""
    blocks, total = [], 0.0
    for block in p.distribution.distributions:
        dims, df, scale = int(block.event_shape[0]), block.df, block.scale.multiplier
        new_df = beta * (df + dims) - dims
        if not new_df > 0:
            raise InputError(
                f"anneal: a Student-t of {dims} dimensions needs beta (df + {dims}) > "
                f"{dims}, else p(z)^beta has no finite integral; received "
                f"beta={beta:g}, df={df:g}"
            )
        new_scale = scale * tf.sqrt(df / new_df)
        operator = tf.linalg.LinearOperatorScaledIdentity(dims, new_scale)
        blocks.append(type(block)(new_df, block.loc, operator))
        total += beta * _log_peak(df, scale, dims) - _log_peak(new_df, new_scale, dims)
    return tfd.TransformedDistribution(tfd.Blockwise(blocks), p.bijector), float(total)


def _is_subspaces(p: tfd.Distribution) -> bool:
    """Returns whether p is as IndependentSubspacesPrior makes it."""
    permuted = isinstance(p, tfd.TransformedDistribution) and of_tfp(p)
    if not (permuted and isinstance(p.bijector, tfb.Permute)):
        return False
    inner = p.distribution
    return isinstance(inner, tfd.Blockwise) and all(
        isinstance(block, tfd.MultivariateStudentTLinearOperator)
        and isinstance(block.scale, tf.linalg.LinearOperatorScaledIdentity)
        for block in inner.distributions
    )


def _log_peak(df: tf.Tensor, scale: tf.Tensor, dims: int = 1) -> np.ndarray:
    """Returns the log density of a Student-t of `dims` dimensions at its location."""
    df, scale = df.numpy().astype(float), scale.numpy().astype(float)
    gammaln = scipy.special.gammaln
    logs = gammaln((df + dims) / 2) - gammaln(df / 2)
    return logs - dims * (0.5 * np.log(df * np.pi) + np.log(scale))
