# SPDX-License-Identifier: Apache-2.0
"""The data and the model that an ExperimentConfig describes, or that a run left."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_decomp.data import Dataset, FactorCorrelation, load_dataset
from tf_decomp.errors import InputError
from tf_decomp.experiment.choices import CHOICES
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import REMEDY, RunFiles
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.vae import DecompositionVAE


def build_dataset(config: ExperimentConfig) -> Dataset:
    """Returns the data of a run.

    Args:
        config: The settings.

    Raises:
        InputError: The data are missing or not usable.

    Example:
        >>> build_dataset(ExperimentConfig(dataset="pinwheel")).train.x.shape
        (400, 2)
    """
    correlation = None
    if config.correlated_factors:
        first, second = config.correlated_factors.split(",")
        correlation = FactorCorrelation(first, second, config.correlation_width)
    return load_dataset(
        config.dataset,
        config.data_dir or None,
        config.image_size,
        config.max_train_examples or None,
        config.seed,
        config.max_test_examples or None,
        correlation,
    )


def build_vae(
    config: ExperimentConfig,
    data_shape: Sequence[int],
    x: np.ndarray | None = None,
    num_data: int | None = None,
) -> DecompositionVAE:
    """Returns the model of a run, not compiled.

    Args:
        config: The settings.
        data_shape: Shape of one datum: [dim] takes multilayer perceptrons, [height,
            width, channels] convolutional networks.
        x: [n, *data_shape] training data, which the priors normal_pca and vamp need.
        num_data: How many training data there are, which the total correlations need;
            None takes x for all of them.

    Raises:
        InputError: The shape is neither, or does not fit the networks; or a part has
            no data, or not their number, that it needs.

    Example:
        >>> build_vae(ExperimentConfig(latent_dim=2), data_shape=[2])
    """
    if num_data is None and x is not None:
        num_data = len(x)
    parts: dict[str, Any] = {}
    for setting, table in CHOICES.items():
        name = getattr(config, setting)
        build = table[name].build
        parts[setting] = name if build is None else build(config, x, num_data)
    posterior, likelihood = parts["posterior"], parts["likelihood"]
    return DecompositionVAE(
        *_build_networks(config, data_shape, posterior, likelihood),
        parts["prior"],
        alpha=config.alpha,
        beta=config.beta,
        divergence=parts["divergence"],
        num_samples=config.num_samples,
        seed=config.seed,
    )


def load_model(files: RunFiles) -> DecompositionVAE:
    """Loads the model of a finished run.

    Args:
        files: Of the run.

    Raises:
        InputError: model.keras holds no model of this library that can be loaded.
    """
    try:
        vae = keras.models.load_model(files.model)
    except Exception as error:  # of zipfile, h5py, json and Keras
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{files.model}: cannot be loaded ({said[:300]}); {REMEDY}"
        ) from error
    if not isinstance(vae, DecompositionVAE):
        raise InputError(
            f"{files.model}: expected a DecompositionVAE; received a "
            f"{type(vae).__name__}; {REMEDY}"
        )
    return vae


def _build_networks(
    config: ExperimentConfig, data_shape: Sequence[int], posterior: str, likelihood: str
) -> tuple[keras.Model, keras.Model]:
    latent_dim = config.latent_dim
    # Of posteriors and likelihoods the networks take their settings too.
    names = CHOICES["likelihood"][config.likelihood].settings
    given = {name: getattr(config, name) for name in names}
    settings = config.posterior_settings
    if len(data_shape) == 1:
        return (
            MLPEncoder(
                latent_dim, config.hidden, posterior, posterior_settings=settings
            ),
            MLPDecoder(data_shape[0], config.hidden, likelihood, **given),
        )
    if len(data_shape) != 3:
        raise InputError(
            "data: expected vectors [n, dim] or images [n, height, width, channels]; "
            f"received data of shape {list(data_shape)}"
        )
    if config.batch_norm:
        return (
            ConvEncoder(
                latent_dim,
                (32, 64, 128),
                (),
                True,
                posterior,
                posterior_settings=settings,
            ),
            ConvDecoder(data_shape, (128, 64, 32), (), True, likelihood, **given),
        )
    return (
        ConvEncoder(latent_dim, posterior=posterior, posterior_settings=settings),
        ConvDecoder(data_shape, likelihood=likelihood, **given),
    )
