# SPDX-License-Identifier: Apache-2.0
"""Priors p(z) of the objective (7)."""

from tf_decomp.priors.base import Prior
from tf_decomp.priors.fixed import FixedPrior, as_prior
from tf_decomp.priors.flow import FlowPrior
from tf_decomp.priors.hierarchical import HierarchicalPrior
from tf_decomp.priors.lp_nested import LpNested, LpNestedPrior
from tf_decomp.priors.mixtures import (
    FactorisedMixturePrior,
    NormalMixturePrior,
    ReparameterisedMixture,
    SpikeAndSlabPrior,
)
from tf_decomp.priors.normal import NormalPrior, pca_variances
from tf_decomp.priors.student_t import StudentTPrior
from tf_decomp.priors.subspaces import IndependentSubspacesPrior
from tf_decomp.priors.tree import TreeMixturePrior
from tf_decomp.priors.vamp import VampPrior

__all__ = [
    "FactorisedMixturePrior",
    "FixedPrior",
    "FlowPrior",
    "HierarchicalPrior",
    "IndependentSubspacesPrior",
    "LpNested",
    "LpNestedPrior",
    "NormalMixturePrior",
    "NormalPrior",
    "Prior",
    "ReparameterisedMixture",
    "SpikeAndSlabPrior",
    "StudentTPrior",
    "TreeMixturePrior",
    "VampPrior",
    "as_prior",
    "pca_variances",
]
