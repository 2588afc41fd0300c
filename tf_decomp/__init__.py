# SPDX-License-Identifier: Apache-2.0
"""Variational autoencoders with structured priors, trained on L_{alpha,beta}."""

# ruff: noqa: E402  (TensorFlow is started before anything imports it)
import importlib
from typing import Any

from tf_decomp.startup import start_tensorflow

start_tensorflow()

from tf_decomp.data import (
    Dataset,
    FactorCorrelation,
    Split,
    color_dsprites,
    correlate_factors,
    dsprites,
    fashion_mnist,
    load_dataset,
    make_pipeline,
    noisy_dsprites,
    pinwheel,
    render_dsprites,
    xy_squares,
)
from tf_decomp.divergences import (
    DIVERGENCES,
    AdversarialDivergence,
    KLCapacity,
    TotalCorrelation,
    dimensionwise_mmd,
    dip_vae_i,
    dip_vae_ii,
    hausdorff_support,
    inclusive_kl,
    joint_mmd,
    kl_divergence,
    sliced_wasserstein,
)
from tf_decomp.errors import InputError
from tf_decomp.experiment import ExperimentConfig, build_vae, train
from tf_decomp.export import export_saved_model, load_encoder
from tf_decomp.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    LaplaceLikelihood,
    NegativeBinomialLikelihood,
    NormalLikelihood,
    PoissonLikelihood,
)
from tf_decomp.networks import (
    ConvDecoder,
    ConvEncoder,
    FillMissing,
    MLPDecoder,
    MLPEncoder,
)
from tf_decomp.objectives import (
    ObjectiveTerms,
    decomposition_objective,
    importance_weighted_bound,
    objective_terms,
)
from tf_decomp.posteriors import (
    FlowPosterior,
    FullCovarianceNormalPosterior,
    LaplacePosterior,
    NormalPosterior,
    aggregate_posterior,
)
from tf_decomp.priors import (
    FactorisedMixturePrior,
    FlowPrior,
    HierarchicalPrior,
    IndependentSubspacesPrior,
    LpNestedPrior,
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
    TreeMixturePrior,
    VampPrior,
    pca_variances,
)
from tf_decomp.vae import ConditionalVAE, DecompositionVAE, LinearSchedule

__version__ = "0.2.0"

__all__ = [
    "DIVERGENCES",
    "AdversarialDivergence",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ConditionalVAE",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "Dataset",
    "DecompositionVAE",
    "ExperimentConfig",
    "FactorCorrelation",
    "FactorisedMixturePrior",
    "FillMissing",
    "FlowPosterior",
    "FlowPrior",
    "FullCovarianceNormalPosterior",
    "HierarchicalPrior",
    "IndependentSubspacesPrior",
    "InputError",
    "KLCapacity",
    "LaplaceLikelihood",
    "LaplacePosterior",
    "LinearSchedule",
    "LpNestedPrior",
    "MLPDecoder",
    "MLPEncoder",
    "NegativeBinomialLikelihood",
    "NormalLikelihood",
    "NormalMixturePrior",
    "NormalPosterior",
    "NormalPrior",
    "ObjectiveTerms",
    "PoissonLikelihood",
    "Prior",
    "SpikeAndSlabPrior",
    "Split",
    "StudentTPrior",
    "TotalCorrelation",
    "TreeMixturePrior",
    "VampPrior",
    "aggregate_posterior",
    "build_vae",
    "color_dsprites",
    "correlate_factors",
    "decomposition_objective",
    "dimensionwise_mmd",
    "dip_vae_i",
    "dip_vae_ii",
    "dsprites",
    "export_saved_model",
    "fashion_mnist",
    "hausdorff_support",
    "importance_weighted_bound",
    "inclusive_kl",
    "joint_mmd",
    "kl_divergence",
    "load_dataset",
    "load_encoder",
    "make_pipeline",
    "noisy_dsprites",
    "objective_terms",
    "pca_variances",
    "pinwheel",
    "render_dsprites",
    "sliced_wasserstein",
    "train",
    "xy_squares",
]

_LAZY = ("metrics", "theory")


def __getattr__(name: str) -> Any:
    """Imports `tf_decomp.metrics` and `tf_decomp.theory` when they are first used."""
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
