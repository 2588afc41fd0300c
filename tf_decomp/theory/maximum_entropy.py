# SPDX-License-Identifier: Apache-2.0
"""The beta-VAE objective written with the annealed prior and an entropy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.divergences import closed_form_kl
from tf_decomp.objectives import ObjectiveTerms, objective_terms
from tf_decomp.sampling import plain
from tf_decomp.theory.annealing import AnnealedPrior


class MaximumEntropyTerms(NamedTuple):
    """The terms on the right of equation (3).

    Attributes:
        log_likelihood: [batch] E_q[log p(x|z)], in nats.
        annealed_kl: [batch] KL(q(z|x) || f_beta), in nats.
        entropy: [batch] H(q(z|x)), in nats.
        log_normaliser: log F_beta.
    """

    log_likelihood: tf.Tensor
    annealed_kl: tf.Tensor
    entropy: tf.Tensor
    log_normaliser: float


def maximum_entropy_terms(
    x: tf.Tensor,
    posterior: tfd.Distribution,
    annealed: AnnealedPrior,
    decoder: Callable[[tf.Tensor], tfd.Distribution],
    latents: tf.Tensor,
) -> MaximumEntropyTerms:
    """Returns the terms of equation (3), averaged over samples of the posterior.

    KL and entropy are exact where TFP registers the KL to f_beta; otherwise both are
    unbiased means over the same samples, so that their errors match those of
    `objective_terms` and Theorem 1 holds to rounding.

    Args:
        x: [batch, *data_shape].
        posterior: q(z|x), batch shape [batch], event shape [latent_dim].
        annealed: f_beta.
        decoder: Maps [n, latent_dim] to p(x|z) of batch shape [n].
        latents: [num_samples, batch, latent_dim] reparameterised samples.

    Example:
        >>> f = anneal(vae.prior, beta=4.0)
        >>> maximum_entropy_terms(x, q, f, vae.decode, q.sample(1)).entropy
    """
    posterior = plain(posterior)
    log_likelihood = objective_terms(
        x, posterior, annealed.prior, decoder, latents
    ).log_likelihood
    if annealed.distribution is not None:
        kl = closed_form_kl(posterior, annealed.distribution)
        if kl is not None:
            return MaximumEntropyTerms(
                log_likelihood, kl, posterior.entropy(), annealed.log_normaliser
            )
    log_q = posterior.log_prob(latents)
    kl = tf.reduce_mean(log_q - annealed.log_prob(latents), axis=0)
    entropy = -tf.reduce_mean(log_q, axis=0)
    return MaximumEntropyTerms(log_likelihood, kl, entropy, annealed.log_normaliser)


def maximum_entropy_objective(
    terms: MaximumEntropyTerms, beta: float | tf.Tensor
) -> tf.Tensor:
    """Returns the right side of equation (3) [batch], which equals L_beta(x).

    Args:
        terms: From `maximum_entropy_terms` of the same beta.
        beta: Weight of the KL in L_beta.

    Example:
        >>> maximum_entropy_objective(terms, beta=4.0)
    """
    elbo = terms.log_likelihood - terms.annealed_kl
    return elbo + (beta - 1) * terms.entropy + terms.log_normaliser


def normal_maximum_entropy_objective(
    terms: ObjectiveTerms, posterior: tfd.Distribution, beta: float | tf.Tensor
) -> tf.Tensor:
    """Returns L_{H,beta}(x) = ELBO + (beta - 1)/2 log|S(x)| [batch], equation (5).

    Args:
        terms: Of the objective (7); the divergence is not used.
        posterior: q(z|x) = N(mu(x), S(x)), batch shape [batch].
        beta: Weight of the KL in L_beta.

    Example:
        >>> normal_maximum_entropy_objective(terms, q, beta=4.0)
    """
    posterior = plain(posterior)
    dims = int(posterior.event_shape[0])
    half_log_determinant = posterior.entropy() - dims * (1 + np.log(2 * np.pi)) / 2
    return terms.log_likelihood - terms.kl + (beta - 1) * half_log_determinant


def corollary_1_constant(annealed: AnnealedPrior) -> float:
    """Returns c of equation (4), D (beta - 1)/2 (1 + log(2 pi/beta)) + log F_beta.

    Args:
        annealed: f_beta of a normal prior.

    Example:
        >>> corollary_1_constant(anneal(NormalPrior(2), beta=1.0))  # 0.0
    """
    beta, dims = annealed.beta, int(annealed.prior.event_shape[0])
    per_dimension = (beta - 1) / 2 * (1 + np.log(2 * np.pi / beta))
    return float(dims * per_dimension + annealed.log_normaliser)
