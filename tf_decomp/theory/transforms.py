# SPDX-License-Identifier: Apache-2.0
"""The same model in other latent coordinates: rotated or rescaled networks."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.sampling import of_tfp, plain


class MappedEncoder(keras.Model):
    """x -> the distribution of A z for z from q(z|x).

    Of a normal posterior N(mu, S) it is the normal N(A mu, A S A').
    The weights are those of the encoder itself.

    Args:
        encoder: Maps x to q(z|x), event shape [latent_dim].
        matrix: A, [latent_dim, latent_dim], invertible.

    Raises:
        InputError: A is not an invertible square matrix.

    Example:
        >>> MappedEncoder(vae.encoder, rotation_matrix(2, 30.0))(x).covariance()
    """

    def __init__(self, encoder: keras.Model, matrix: np.ndarray) -> None:
        super().__init__()
        self.encoder, self.matrix = encoder, _check_matrix(matrix)

    def call(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Returns the distribution of A z, batch shape [batch]."""
        posterior = plain(self.encoder(x, training=training))
        matrix = tf.constant(self.matrix, posterior.dtype)
        operator = tf.linalg.LinearOperatorFullMatrix(matrix, is_non_singular=True)
        is_normal = isinstance(posterior, tfd.MultivariateNormalLinearOperator)
        if is_normal and of_tfp(posterior):
            # No Cholesky factor of A S A': float32 has none where S is near singular.
            scale = tf.linalg.LinearOperatorComposition([operator, posterior.scale])
            loc = operator.matvec(posterior.mean())
            return tfd.MultivariateNormalLinearOperator(loc, scale)
        bijector = tfp.bijectors.ScaleMatvecLinearOperator(operator)
        # Between the two, because TFP passes by the log_prob of a subclass of its own
        # transformed distributions, as the multivariate normals are.
        as_it_is = tfd.Independent(posterior, 0)
        return tfd.TransformedDistribution(as_it_is, bijector)


class MappedDecoder(keras.Model):
    """z -> p(x | A^-1 z), which undoes a MappedEncoder.

    Args:
        decoder: Maps z [batch, latent_dim] to p(x|z).
        matrix: A, [latent_dim, latent_dim], invertible.

    Raises:
        InputError: A is not an invertible square matrix.

    Example:
        >>> MappedDecoder(vae.decoder, rotation_matrix(2, 30.0))(z).mean()
    """

    def __init__(self, decoder: keras.Model, matrix: np.ndarray) -> None:
        super().__init__()
        self.decoder = decoder
        self.inverse = np.linalg.inv(_check_matrix(matrix))

    def call(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """Returns p(x | A^-1 z), batch shape [batch]."""
        inverse = tf.constant(self.inverse, z.dtype)
        return plain(
            self.decoder(tf.matmul(z, inverse, transpose_b=True), training=training)
        )


def rotate(
    encoder: keras.Model, decoder: keras.Model, rotation: np.ndarray
) -> tuple[MappedEncoder, MappedDecoder]:
    """Returns the networks of Theorem 2, rotated by R.

    q is N(R mu, R S R') and p(x | R' z): the same marginal likelihood under a prior
    that R leaves alone, and the same reconstructions under any.

    Args:
        encoder: Maps x to q(z|x).
        decoder: Maps z to p(x|z).
        rotation: R, [latent_dim, latent_dim], orthogonal.

    Raises:
        InputError: R is not orthogonal.

    Example:
        >>> networks = rotate(vae.encoder, vae.decoder, rotation_matrix(2, 45.0))
        >>> DecompositionVAE(*networks, vae.prior, beta=4.0)
    """
    matrix = _check_matrix(rotation)
    error = np.max(np.abs(matrix @ matrix.T - np.eye(len(matrix))))
    if error > 1e-6:
        raise InputError(
            "rotate: expected an orthogonal matrix, R R' = I; received one that is off "
            f"by {error:.2g}, take the Q of its QR decomposition"
        )
    return MappedEncoder(encoder, matrix), MappedDecoder(decoder, matrix)


def rescale(
    encoder: keras.Model, decoder: keras.Model, latent_dim: int, factor: float
) -> tuple[MappedEncoder, MappedDecoder]:
    """Returns the networks of Corollary 1: latents times a factor, sqrt(beta) there.

    Args:
        encoder: Maps x to q(z|x).
        decoder: Maps z to p(x|z).
        latent_dim: Number of latent dimensions.
        factor: Nonzero.

    Raises:
        InputError: The factor is 0 or not finite.

    Example:
        >>> rescale(vae.encoder, vae.decoder, vae.latent_dim, beta**0.5)
    """
    matrix = factor * np.eye(latent_dim)
    return MappedEncoder(encoder, matrix), MappedDecoder(decoder, matrix)


def rotation_matrix(latent_dim: int, degrees: float) -> np.ndarray:
    """Returns the rotation [latent_dim, latent_dim] by one angle in every pair of axes.

    The pairs are (0, 1), (2, 3), ...; a last axis without a partner stays.

    Args:
        latent_dim: At least 2.
        degrees: The angle.

    Raises:
        InputError: There is no pair.

    Example:
        >>> rotation_matrix(2, 90.0).round()  # [[0, -1], [1, 0]]
    """
    if latent_dim < 2:
        raise InputError(
            f"rotation_matrix: latent_dim must be >= 2; received {latent_dim}"
        )
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(latent_dim)
    for first in range(0, latent_dim - 1, 2):
        pair = slice(first, first + 2)
        matrix[pair, pair] = [[cosine, -sine], [sine, cosine]]
    return matrix


def _check_matrix(matrix: np.ndarray) -> np.ndarray:
    matrix = np.array(matrix, float)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
    if not square or not np.all(np.isfinite(matrix)) or not np.linalg.det(matrix):
        raise InputError(
            "expected an invertible matrix [latent_dim, latent_dim] of finite numbers; "
            f"received shape {list(matrix.shape)}"
        )
    return matrix
