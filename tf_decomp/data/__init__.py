# SPDX-License-Identifier: Apache-2.0
"""Data sets as NumPy arrays, and the `tf.data` pipeline that feeds them to Keras."""

from tf_decomp.data.correlation import FactorCorrelation, correlate_factors
from tf_decomp.data.dataset import Dataset, Split, hold_out, subset
from tf_decomp.data.dsprites import dsprites
from tf_decomp.data.dsprites_rendering import render_dsprites
from tf_decomp.data.dsprites_variants import color_dsprites, noisy_dsprites
from tf_decomp.data.fashion_mnist import fashion_mnist
from tf_decomp.data.pinwheel import pinwheel
from tf_decomp.data.pipeline import make_pipeline
from tf_decomp.data.sources import load_dataset, load_npz, load_tfds
from tf_decomp.data.xy_squares import xy_squares

__all__ = [
    "Dataset",
    "FactorCorrelation",
    "Split",
    "color_dsprites",
    "correlate_factors",
    "dsprites",
    "fashion_mnist",
    "hold_out",
    "load_dataset",
    "load_npz",
    "load_tfds",
    "make_pipeline",
    "noisy_dsprites",
    "pinwheel",
    "render_dsprites",
    "subset",
    "xy_squares",
]
