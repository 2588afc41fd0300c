# SPDX-License-Identifier: Apache-2.0
"""Both sides of each theorem of Section 4, computed on a model and compared."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.objectives import decomposition_objective, objective_terms
from tf_decomp.priors import Prior, as_prior
from tf_decomp.sampling import plain, stateless_seed
from tf_decomp.theory.annealing import AnnealedPrior, anneal
from tf_decomp.theory.maximum_entropy import (
    corollary_1_constant,
    maximum_entropy_objective,
    maximum_entropy_terms,
    normal_maximum_entropy_objective,
)
from tf_decomp.theory.transforms import rescale, rotate, rotation_matrix


class RotationCurve(NamedTuple):
    """L_beta of rotated networks: one entry an angle.

    Attributes:
        degrees: [k] angles; the differences are to the first.
        objective: [k] mean of L_beta(x) over the data, in nats.
        standard_error: [k] of that mean.
        difference: [k] L_beta at the angle minus L_beta at the first.
        difference_standard_error: [k] paired: same data, same noise.
        rounding: Size of the differences that rounding alone can make.
        n: Number of data.
    """

    degrees: np.ndarray
    objective: np.ndarray
    standard_error: np.ndarray
    difference: np.ndarray
    difference_standard_error: np.ndarray
    rounding: float
    n: int


def theorem_1_gap(
    model: Any, x: tf.Tensor, annealed: AnnealedPrior, latents: tf.Tensor
) -> tf.Tensor:
    """Returns left minus right side of equation (3) [batch]; 0 up to rounding.

    Args:
        model: With `encoder` and `decoder`, as a DecompositionVAE.
        x: [batch, *data_shape].
        annealed: f_beta of the model's prior; it sets beta.
        latents: [num_samples, batch, latent_dim] samples of q(z|x), common to both.

    Example:
        >>> theorem_1_gap(vae, x, anneal(vae.prior, 4.0), vae.encode(x).sample(1))
    """
    posterior = plain(model.encoder(x, training=False))
    left = _objective(
        x, posterior, annealed.prior, model.decoder, latents, annealed.beta
    )
    terms = maximum_entropy_terms(x, posterior, annealed, model.decoder, latents)
    return left - maximum_entropy_objective(terms, annealed.beta)


def corollary_1_gap(
    model: Any, x: tf.Tensor, beta: float, latents: tf.Tensor
) -> tf.Tensor:
    """Returns left minus right side of equation (4) [batch]; 0 up to rounding.

    Args:
        model: With `encoder`, `decoder` and a normal `prior` of mean 0; its
            posterior is normal.
        x: [batch, *data_shape].
        beta: Weight of the KL, > 0.
        latents: [num_samples, batch, latent_dim] samples of q(z|x), common to both.

    Example:
        >>> corollary_1_gap(vae, x, 4.0, vae.encode(x).sample(1))
    """
    annealed = anneal(model.prior, beta)
    posterior = plain(model.encoder(x, training=False))
    left = _objective(x, posterior, annealed.prior, model.decoder, latents, beta)
    right = _rescaled_objective(model, x, annealed.prior, beta, latents)
    return left - right - corollary_1_constant(annealed)


def corollary_2_gradients(
    model: Any, x: tf.Tensor, beta: float, noise: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns the gradients of L_beta and of L_{H,beta} of the rescaled networks.

    Both are means over the batch, by the same trainable weights of encoder and
    decoder; Corollary 2 says that they are equal, so that the two objectives have
    the same stationary points up to the rescaling.

    Args:
        model: As of `corollary_1_gap`, with a posterior of diagonal covariance.
        x: [batch, *data_shape].
        beta: Weight of the KL, > 0.
        noise: [num_samples, batch, latent_dim] standard normal numbers.

    Example:
        >>> left, right = corollary_2_gradients(vae, x, 4.0, noise)
    """
    weights = model.encoder.trainable_weights + model.decoder.trainable_weights
    variables = [weight.value for weight in weights]
    prior = as_prior(model.prior).distribution
    with tf.GradientTape(persistent=True) as tape:
        posterior = plain(model.encoder(x, training=False))
        latents = posterior.mean() + posterior.stddev() * noise
        left = tf.reduce_mean(
            _objective(x, posterior, prior, model.decoder, latents, beta)
        )
        right = tf.reduce_mean(_rescaled_objective(model, x, prior, beta, latents))
    zero = tf.UnconnectedGradients.ZERO
    return (
        tape.gradient(left, variables, unconnected_gradients=zero),
        tape.gradient(right, variables, unconnected_gradients=zero),
    )


def objective_by_angle(
    model: Any,
    x: np.ndarray,
    beta: float,
    degrees: Sequence[float] = tuple(range(0, 91, 5)),
    num_samples: int = 1,
    seed: int = 0,
    batch_size: int = 500,
) -> RotationCurve:
    """Returns L_beta (alpha = 0) of the model rotated by each angle, as Theorem 2 says.

    The noise of q(z|x) is the same at every angle (z turns with the networks), so
    differences are far more precise than the objective itself. Standard errors are
    over data. With N(0, s^2 I) as the prior the curve is flat.

    Args:
        model: With `encoder`, `decoder` and `prior`, as a DecompositionVAE.
        x: [n, *data_shape], n >= 2.
        beta: Weight of the KL.
        degrees: Angles, in every pair of axes (`rotation_matrix`).
        num_samples: Posterior samples a datum, averaged.
        seed: Same seed, same result.
        batch_size: Data at once.

    Raises:
        InputError: There are fewer than two data or no angle.

    Example:
        >>> objective_by_angle(vae, x, beta=4.0).difference
    """
    if len(x) < 2 or not len(degrees):
        raise InputError(
            "objective_by_angle: expected at least 2 data and 1 angle; received "
            f"{len(x)} and {len(degrees)}"
        )
    prior = as_prior(model.prior)
    matrices = [rotation_matrix(prior.latent_dim, angle) for angle in degrees]
    networks = [rotate(model.encoder, model.decoder, each) for each in matrices]
    rows = []
    for start in range(0, len(x), batch_size):
        batch = tf.cast(x[start : start + batch_size], prior.distribution.dtype)
        posterior = plain(model.encoder(batch, training=False))
        z = posterior.sample(num_samples, seed=stateless_seed(seed, stream=start))
        columns = [
            _mapped_objective(batch, pair, prior, _map(z, matrix), beta)
            for pair, matrix in zip(networks, matrices, strict=True)
        ]
        rows.append(np.stack(columns, axis=1).astype(float))
    values = np.concatenate(rows)
    paired = values - values[:, :1]
    precision = np.finfo(prior.distribution.dtype.as_numpy_dtype).eps
    root = np.sqrt(len(values))
    return RotationCurve(
        np.array(degrees, float),
        values.mean(0),
        values.std(0, ddof=1) / root,
        paired.mean(0),
        paired.std(0, ddof=1) / root,
        float(10 * precision * np.mean(np.abs(values[:, 0]))),
        len(values),
    )


def _objective(
    x: tf.Tensor,
    posterior: tfd.Distribution,
    prior: tfd.Distribution,
    decoder: keras.Model,
    latents: tf.Tensor,
    beta: float,
) -> tf.Tensor:
    terms = objective_terms(x, posterior, prior, decoder, latents)
    return decomposition_objective(terms, alpha=0.0, beta=beta)


def _mapped_objective(
    x: tf.Tensor,
    networks: tuple[keras.Model, keras.Model],
    prior: Prior,
    latents: tf.Tensor,
    beta: float,
) -> np.ndarray:
    encoder, decoder = networks
    posterior = encoder(x, training=False)
    return _objective(x, posterior, prior.distribution, decoder, latents, beta).numpy()


def _rescaled_objective(
    model: Any, x: tf.Tensor, prior: tfd.Distribution, beta: float, latents: tf.Tensor
) -> tf.Tensor:
    """Returns L_{H,beta} of networks whose latents are sqrt(beta) times as large."""
    root, latent_dim = beta**0.5, int(prior.event_shape[0])
    encoder, decoder = rescale(model.encoder, model.decoder, latent_dim, root)
    posterior = encoder(x, training=False)
    terms = objective_terms(x, posterior, prior, decoder, root * latents)
    return normal_maximum_entropy_objective(terms, posterior, beta)


def _map(latents: tf.Tensor, matrix: np.ndarray) -> tf.Tensor:
    return tf.einsum("...j,ij->...i", latents, tf.constant(matrix, latents.dtype))
