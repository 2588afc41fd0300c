# SPDX-License-Identifier: Apache-2.0
"""A finished run read back: its model, its test set and the encodings of that."""

from typing import NamedTuple

import numpy as np
from tensorflow_probability import distributions as tfd

from tf_decomp.data import Split, make_pipeline
from tf_decomp.experiment.build import build_dataset, load_model
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.likelihoods import likelihood_point
from tf_decomp.metrics.encodings import encode_data
from tf_decomp.vae import DecompositionVAE

_BATCH = 500


class FinishedRun(NamedTuple):
    """What can be asked of a run that ended.

    Attributes:
        config: Its settings.
        vae: The model.
        test: The test set, the one that it was tested on.
        posterior: q(z|x) of the test set, batch shape [n].
    """

    config: ExperimentConfig
    vae: DecompositionVAE
    test: Split
    posterior: tfd.Distribution


def load_finished_run(files: RunFiles) -> FinishedRun:
    """Loads a finished run and encodes its test set.

    Args:
        files: Of the run.

    Raises:
        InputError: The run is not finished, or its files do not belong together.
    """
    files.read_metrics()  # only finished runs have them
    config = files.read_config()
    vae = load_model(files)
    test = build_dataset(config).test
    batches = make_pipeline(test, min(_BATCH, len(test.x)), shuffle=False, seed=0)
    return FinishedRun(config, vae, test, encode_data(vae, batches))


def decode_moved(
    vae: DecompositionVAE, codes: np.ndarray, dimensions: np.ndarray, steps: int
) -> np.ndarray:
    """Decodes codes while one dimension of each runs from z_d to z_d + sign(z_d).

    As in the lower half of the paper's Figure 5.

    Args:
        vae: The model.
        codes: [n, latent_dim].
        dimensions: [n] d of each code.
        steps: How many places, evenly spaced, both ends included.

    Returns:
        Means of p(x|z) [n, steps, *data_shape].
    """
    rows = np.arange(len(codes))
    latents = np.repeat(codes[:, None], steps, axis=1)
    direction = np.sign(codes[rows, dimensions])
    latents[rows, :, dimensions] += direction[:, None] * np.linspace(0, 1, steps)
    decoded = likelihood_point(vae.decode(latents.reshape(-1, codes.shape[1]))).numpy()
    return decoded.reshape(len(codes), steps, *vae.data_shape)
