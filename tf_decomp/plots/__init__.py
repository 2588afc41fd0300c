# SPDX-License-Identifier: Apache-2.0
"""Matplotlib figures from NumPy arrays; nothing here knows a model."""

from tf_decomp.plots.examples import reconstructions, samples
from tf_decomp.plots.latents import latent_density, latent_marginals
from tf_decomp.plots.style import (
    CLASS_COLORS,
    CLASS_MARKERS,
    DATA_COLOR,
    MODEL_COLOR,
    STYLE,
    save_figure,
)
from tf_decomp.plots.training import training_curves

__all__ = [
    "CLASS_COLORS",
    "CLASS_MARKERS",
    "DATA_COLOR",
    "MODEL_COLOR",
    "STYLE",
    "latent_density",
    "latent_marginals",
    "reconstructions",
    "samples",
    "save_figure",
    "training_curves",
]
