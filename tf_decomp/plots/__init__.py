# SPDX-License-Identifier: Apache-2.0
"""Matplotlib figures from NumPy arrays; nothing here knows a model.

A function that returns a `Figure` draws all of it; one that takes an `Axes` draws a
panel, for whoever arranges several.
"""

from tf_decomp.plots.classes import class_magnitudes, interpolations
from tf_decomp.plots.examples import reconstructions, samples
from tf_decomp.plots.factors import two_factors
from tf_decomp.plots.latents import latent_density, latent_marginals
from tf_decomp.plots.pairs import pairwise_marginals
from tf_decomp.plots.style import (
    CLASS_COLORS,
    CLASS_MARKERS,
    DATA_COLOR,
    MODEL_COLOR,
    STYLE,
    save_figure,
)
from tf_decomp.plots.training import training_curves
from tf_decomp.plots.traversals import save_traversal_gif, traversals

__all__ = [
    "CLASS_COLORS",
    "CLASS_MARKERS",
    "DATA_COLOR",
    "MODEL_COLOR",
    "STYLE",
    "class_magnitudes",
    "interpolations",
    "latent_density",
    "latent_marginals",
    "pairwise_marginals",
    "reconstructions",
    "samples",
    "save_figure",
    "save_traversal_gif",
    "training_curves",
    "traversals",
    "two_factors",
]
