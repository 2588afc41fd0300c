# SPDX-License-Identifier: Apache-2.0
"""The objective L_{alpha,beta} of equation (7), term by term, and the IWAE bound."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.batches import check_conditions, is_conditional, refuse_conditions
from tf_decomp.checks import check_whole_number
from tf_decomp.divergences import kl_divergence
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import check_support
from tf_decomp.sampling import plain, stateless_seed


class ObjectiveTerms(NamedTuple):
    """The three terms of equation (7).

    Attributes:
        log_likelihood: [batch] E_q[log p(x|z)], in nats.
        kl: [batch] KL(q(z|x) || p(z)), in nats.
        divergence: [] D(q(z), p(z)) of the whole batch; None where it is not wanted.
    """

    log_likelihood: tf.Tensor
    kl: tf.Tensor
    divergence: tf.Tensor | None


def objective_terms(
    x: tf.Tensor,
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    decoder: Callable[[tf.Tensor], tfd.Distribution],
    latents: tf.Tensor,
    divergence: tf.Tensor | None = None,
) -> ObjectiveTerms:
    """Returns the terms of equation (7), averaged over samples of the posterior.

    log_likelihood is an unbiased Monte Carlo mean; kl is exact where TFP registers
    the pair, else the unbiased mean over the same samples.

    Args:
        x: [batch, *data_shape].
        posterior: q(z|x), batch shape [batch], event shape [latent_dim].
        prior: p(z), event shape [latent_dim].
        decoder: Maps [n, latent_dim] to p(x|z) of batch shape [n].
        latents: [num_samples, batch, latent_dim] reparameterised samples.
        divergence: D(q(z), p(z)) if it is wanted.

    Example:
        >>> terms = objective_terms(x, q, p, vae.decode, q.sample(1))
    """
    log_likelihood = tf.reduce_mean(_log_likelihood(x, decoder, latents), axis=0)
    kl = kl_divergence(posterior, prior, latents)
    return ObjectiveTerms(log_likelihood, kl, divergence)


def decomposition_objective(
    terms: ObjectiveTerms, alpha: float | tf.Tensor, beta: float | tf.Tensor
) -> tf.Tensor:
    """Returns L_{alpha,beta}(x) [batch], equation (7), in nats (to be maximised).

    Args:
        terms: The three terms, of any shapes that fit each other; a divergence of None
            counts as 0.
        alpha: Weight of D(q(z), p(z)); at 0 it does not matter what D is.
        beta: Weight of the KL.

    Example:
        >>> decomposition_objective(terms, alpha=5.0, beta=0.01)
    """
    log_likelihood, kl, divergence = terms
    if divergence is None:
        return log_likelihood - beta * kl
    weighted = tf.math.multiply_no_nan(divergence, alpha)  # 0 where alpha is 0
    return log_likelihood - beta * kl - weighted


def batch_divergence(
    divergence: Callable[..., tf.Tensor],
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    latents: tf.Tensor,
    prior_samples: tf.Tensor,
) -> tf.Tensor:
    """Returns D(q(z), p(z)) [] as a divergence computes it, if it is one number.

    Args:
        divergence: Of the calling form of DIVERGENCES.
        posterior: q(z|x), batch shape [batch], event shape [latent_dim].
        prior: p(z), event shape [latent_dim].
        latents: [batch, latent_dim].
        prior_samples: [batch, latent_dim].

    Raises:
        InputError: It gave anything but a scalar of the type of the latents.

    Example:
        >>> batch_divergence(DIVERGENCES["inclusive_kl"], q, p, q.sample(), p.sample(5))
    """
    value = divergence(posterior, prior, latents, prior_samples)
    if not tf.is_tensor(value):
        received = f"{value!r:.60}"
    elif value.shape.rank == 0 and value.dtype == latents.dtype:
        return value
    else:
        received = f"shape {value.shape} and type {value.dtype.name}"
    raise InputError(
        f"divergence: expected one {latents.dtype.name} number, a tensor of shape (), "
        f"from the callable; received {received}, reduce or cast it"
    )


def importance_weighted_bound(
    model: Any,
    x: tf.Tensor,
    num_samples: int,
    seed: int | None = None,
    c: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x) [batch], in nats.

    A lower bound on log p(x) in expectation, whose bias falls as 1/K (Burda et al.
    2016); K = 1 gives an unbiased ELBO. All K samples are held at once.

    Args:
        model: With `encode(x)`, `decode(z)` and `prior`, as a DecompositionVAE.
        x: [batch, *data_shape].
        num_samples: K.
        seed: Same seed, same result; None draws anew.
        c: Of a conditional model, [batch, condition_dim]: the bound is on log p(x|c).

    Raises:
        InputError: `num_samples` is no whole number >= 1, x is of another shape or
            outside the likelihood's support, or c is not what the model takes.

    Example:
        >>> importance_weighted_bound(vae, x, num_samples=100, seed=0)
    """
    check_whole_number("num_samples", num_samples, 1)
    refuse_conditions(model, c)
    condition: list[Any] = []
    if is_conditional(model):
        check_conditions("importance_weighted_bound", c, model.condition_dim, x)
        condition = [c]
    posterior = plain(model.encode(x, *condition))
    latents = posterior.sample(num_samples, seed=stateless_seed(seed))
    x = tf.cast(x, latents.dtype)
    copies = [tf.tile(each, [num_samples, 1]) for each in condition]

    def decoder(z: tf.Tensor) -> tfd.Distribution:
        return model.decode(z, *copies)

    log_weights = (
        _log_likelihood(x, decoder, latents)
        + model.prior.distribution.log_prob(latents)
        - posterior.log_prob(latents)
    )
    log_count = tf.math.log(tf.cast(num_samples, log_weights.dtype))
    return tf.reduce_logsumexp(log_weights, axis=0) - log_count


def _log_likelihood(
    x: tf.Tensor, decoder: Callable[[tf.Tensor], tfd.Distribution], latents: tf.Tensor
) -> tf.Tensor:
    """Returns log p(x|z) [num_samples, batch] of latents with one more axis."""
    shape = tf.shape(latents)
    likelihood = decoder(tf.reshape(latents, [-1, latents.shape[-1]]))
    if not likelihood.event_shape.is_compatible_with(x.shape[1:]):
        raise InputError(
            f"x: expected examples of the decoder's event shape "
            f"{likelihood.event_shape}; received shape {x.shape}"
        )
    check_support(likelihood, x)
    if latents.shape[0] == 1:
        return likelihood.log_prob(x)[None]
    copies = tf.tile(x, tf.concat([shape[:1], tf.ones_like(tf.shape(x)[1:])], 0))
    return tf.reshape(likelihood.log_prob(copies), shape[:2])
