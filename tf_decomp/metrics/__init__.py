# SPDX-License-Identifier: Apache-2.0
"""Judging a representation: from plain arrays, posteriors or a model."""

from tf_decomp.metrics.binned_information import mutual_information
from tf_decomp.metrics.codes import active_dimensions
from tf_decomp.metrics.disentanglement import (
    FactorVAEScore,
    beta_vae_score,
    factor_vae_score,
)
from tf_decomp.metrics.disentanglement_information import (
    ModularityExplicitness,
    modularity_explicitness,
    mutual_information_gap,
)
from tf_decomp.metrics.disentanglement_prediction import (
    DCIScore,
    dci_disentanglement,
    sap_score,
)
from tf_decomp.metrics.disentanglement_shares import InfoMEC, info_mec
from tf_decomp.metrics.encodings import encode_data
from tf_decomp.metrics.estimates import Estimate
from tf_decomp.metrics.likelihood import (
    MarginalLogLikelihood,
    marginal_log_likelihood,
)
from tf_decomp.metrics.normal_scores import normal_scores
from tf_decomp.metrics.overlap import OverlapReport, overlap_report
from tf_decomp.metrics.regularisation import (
    RegularisationReport,
    regularisation_report,
)
from tf_decomp.metrics.sparsity import HoyerSparsity, hoyer_sparsity

__all__ = [
    "DCIScore",
    "Estimate",
    "FactorVAEScore",
    "HoyerSparsity",
    "InfoMEC",
    "MarginalLogLikelihood",
    "ModularityExplicitness",
    "OverlapReport",
    "RegularisationReport",
    "active_dimensions",
    "beta_vae_score",
    "dci_disentanglement",
    "encode_data",
    "factor_vae_score",
    "hoyer_sparsity",
    "info_mec",
    "marginal_log_likelihood",
    "modularity_explicitness",
    "mutual_information",
    "mutual_information_gap",
    "normal_scores",
    "overlap_report",
    "regularisation_report",
    "sap_score",
]
