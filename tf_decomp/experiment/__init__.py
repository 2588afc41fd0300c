# SPDX-License-Identifier: Apache-2.0
"""One run: from settings to a folder of files."""

from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.training import train

__all__ = ["ExperimentConfig", "build_vae", "train"]
