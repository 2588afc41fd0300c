# SPDX-License-Identifier: Apache-2.0
"""KL(q(z|x) || p(z)), and the inclusive KL(p(z) || q(z)) of the aggregate."""

import itertools
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.distributions import kullback_leibler

from tf_decomp.divergences.calling_form import in_calling_form
from tf_decomp.errors import InputError
from tf_decomp.posteriors import aggregate_log_prob, check_points
from tf_decomp.priors import Prior
from tf_decomp.sampling import of_tfp, plain


def kl_divergence(
    posterior: tfd.Distribution, prior: tfd.Distribution | Prior, latents: tf.Tensor
) -> tf.Tensor:
    """Returns KL(q(z|x) || p(z)) [batch], in nats.

    Exact where `closed_form_kl` is known (NormalPosterior to NormalPrior, and to the
    other priors at their normal limits); `latents` are then unused. Otherwise the
    unbiased Monte Carlo mean of log q(z|x) - log p(z) over the leading axes of
    `latents`; the prior's joint density counts once.

    Args:
        posterior: Batch shape [batch], event shape [latent_dim].
        prior: Batch shape [], event shape [latent_dim].
        latents: [..., batch, latent_dim] reparameterised samples of the posterior.

    Raises:
        InputError: Shapes or types do not fit each other.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))
        >>> kl_divergence(q, NormalPrior(2), q.sample(1))
    """
    q, p = _pair("kl_divergence", posterior, prior)
    exact = closed_form_kl(q, p)
    if exact is not None:
        return exact
    latents = check_points("kl_divergence: latents", latents, q)
    log_ratio = q.log_prob(latents) - p.log_prob(latents)
    return tf.reduce_mean(log_ratio, axis=range(latents.shape.rank - 2))


def closed_form_kl(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor | None:
    """Returns KL(q || p) [batch] where TFP registers one for these very classes.

    None elsewhere, so for a subclass too: its densities may be others than those of its
    base, whose KL TFP would take. One that a user registers for it counts.

    Args:
        q: Plain.
        p: Plain.

    Example:
        >>> closed_form_kl(tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0))  # 0.5
    """
    if not _is_registered(q, p):
        return None
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:  # of the distributions inside them
        return None


def inclusive_kl(
    prior_samples: tf.Tensor,
    prior: tfd.Distribution | Prior,
    posterior: tfd.Distribution,
) -> tf.Tensor:
    """Returns an estimate of KL(p(z) || q(z)) [], in nats: Section 6.2.

    The mean over the samples of log p(z) - log((1/B) sum_i q(z|x_i)). Unbiased for
    the batch's own aggregate; as an estimate of the divergence to the aggregate of
    all data it is biased upwards, by about the variance of the batch's density
    relative to its square over 2B, which small batches make large (true 0.040:
    0.088 at B = 256, 1.5 at B = 16). Memory [S, B], never [S, B, latent_dim].

    Args:
        prior_samples: [S, latent_dim] samples of the prior, reparameterised if it
            learns.
        prior: Batch shape [], event shape [latent_dim].
        posterior: Batch shape [B], event shape [latent_dim].

    Raises:
        InputError: Shapes or types do not fit each other, or as of
            `aggregate_log_prob`.

    Example:
        >>> inclusive_kl(prior.distribution.sample(400), prior, vae.encode(x))
    """
    _, p = _pair("inclusive_kl", posterior, prior)
    z = check_points("inclusive_kl: prior_samples", prior_samples, p, rank=2)
    return tf.reduce_mean(p.log_prob(z) - aggregate_log_prob(posterior, z))


inclusive_kl_divergence = in_calling_form(
    inclusive_kl,
    lambda posterior, prior, latents, prior_samples: inclusive_kl(
        prior_samples, prior, posterior
    ),
)


def _pair(name: str, posterior: Any, prior: Any) -> tuple[Any, Any]:
    """Returns q(z|x) and p(z), plain, if they are of the same space."""
    p = prior.distribution if isinstance(prior, Prior) else prior
    for what, value in (("posterior", posterior), ("prior", p)):
        if not isinstance(value, tfd.Distribution):
            raise InputError(
                f"{name}: expected the {what} as a distribution; received a "
                f"{type(value).__name__}"
            )
    q, p = plain(posterior), plain(p)
    fits = q.event_shape.is_compatible_with(p.event_shape) and q.dtype == p.dtype
    if not fits or p.batch_shape.rank:
        raise InputError(
            f"{name}: expected a prior like the posterior, {q.dtype.name} with event "
            f"shape {q.event_shape}, and batch shape []; received {p.dtype.name}, "
            f"{p.event_shape} and {p.batch_shape}"
        )
    return q, p


def _is_registered(q: tfd.Distribution, p: tfd.Distribution) -> bool:
    if type(q) is type(p) is tfd.Independent:
        return _is_registered(q.distribution, p.distribution)
    families = [type(d).__mro__ if of_tfp(d) else (type(d),) for d in (q, p)]
    registered = kullback_leibler._DIVERGENCES
    return any(pair in registered for pair in itertools.product(*families))
