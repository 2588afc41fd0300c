# SPDX-License-Identifier: Apache-2.0
"""The data and the model that an ExperimentConfig describes."""

from collections.abc import Sequence

import keras
import numpy as np

from tf_decomp.data import Dataset, load_dataset
from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.priors import (
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
    pca_variances,
)
from tf_decomp.vae import DecompositionVAE

# Section 6.2: one mode on each half-axis.
MIXTURE_LOCS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def build_dataset(config: ExperimentConfig) -> Dataset:
    """Loads the data of a run.

    Args:
        config: The settings.

    Raises:
        InputError: The data are missing or not usable.

    Example:
        >>> build_dataset(ExperimentConfig(dataset="pinwheel")).train.x.shape
        (400, 2)
    """
    return load_dataset(
        config.dataset,
        config.data_dir or None,
        config.image_size,
        config.max_train_examples or None,
        config.seed,
        config.max_test_examples or None,
    )


def build_vae(
    config: ExperimentConfig, data_shape: Sequence[int], x: np.ndarray | None = None
) -> DecompositionVAE:
    """Builds the model of a run, not compiled.

    Args:
        config: The settings.
        data_shape: Shape of one datum: [dim] takes multilayer perceptrons, [height,
            width, channels] convolutional networks.
        x: [n, *data_shape] training data, which the prior normal_pca needs.

    Raises:
        InputError: The shape is neither, or does not fit the networks; or normal_pca
            has no data.

    Example:
        >>> build_vae(ExperimentConfig(latent_dim=2), data_shape=[2])
    """
    encoder, decoder = _build_networks(config, data_shape)
    return DecompositionVAE(
        encoder,
        decoder,
        _build_prior(config, x),
        alpha=config.alpha,
        beta=config.beta,
        divergence=None if config.divergence == "none" else config.divergence,
        num_samples=config.num_samples,
        seed=config.seed,
    )


def _build_networks(
    config: ExperimentConfig, data_shape: Sequence[int]
) -> tuple[keras.Model, keras.Model]:
    latent_dim, posterior = config.latent_dim, config.posterior
    likelihood = config.likelihood
    if len(data_shape) == 1:
        return (
            MLPEncoder(latent_dim, config.hidden, posterior),
            MLPDecoder(data_shape[0], config.hidden, likelihood),
        )
    if len(data_shape) != 3:
        raise InputError(
            "data: expected vectors [n, dim] or images [n, height, width, channels]; "
            f"received data of shape {list(data_shape)}"
        )
    if config.batch_norm:
        return (
            ConvEncoder(latent_dim, (32, 64, 128), (), True, posterior),
            ConvDecoder(data_shape, (128, 64, 32), (), True, likelihood),
        )
    return (
        ConvEncoder(latent_dim, posterior=posterior),
        ConvDecoder(data_shape, likelihood=likelihood),
    )


def _build_prior(config: ExperimentConfig, x: np.ndarray | None) -> Prior:
    latent_dim = config.latent_dim
    if config.prior == "student_t":
        return StudentTPrior(latent_dim, config.df)
    if config.prior == "normal_mixture":
        return NormalMixturePrior(MIXTURE_LOCS, config.mixture_variance)
    if config.prior == "spike_and_slab":
        return SpikeAndSlabPrior(latent_dim, config.gamma, config.spike_variance)
    if config.prior == "normal_pca":
        if x is None:
            raise InputError("prior=normal_pca takes its variances from data; pass x")
        return NormalPrior(latent_dim, pca_variances(x, latent_dim, seed=config.seed))
    return NormalPrior(
        latent_dim,
        learnable=config.prior != "normal",
        fixed_total=config.prior == "normal_learnt_fixed_total",
    )
