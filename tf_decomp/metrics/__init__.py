# SPDX-License-Identifier: Apache-2.0
"""Judging a representation: from plain arrays, posteriors or a model."""

from tf_decomp.metrics.agreement import (
    DisentanglementRanking,
    MeanCorrelation,
    mean_correlation_coefficient,
    unsupervised_disentanglement_ranking,
)
from tf_decomp.metrics.codes import active_dimensions, normal_scores
from tf_decomp.metrics.encodings import encode_data
from tf_decomp.metrics.information import (
    InfoMEC,
    ModularityExplicitness,
    info_mec,
    modularity_explicitness,
    mutual_information,
    mutual_information_gap,
)
from tf_decomp.metrics.intervention import (
    FactorVAEScore,
    beta_vae_score,
    factor_vae_score,
)
from tf_decomp.metrics.likelihood import (
    MarginalLogLikelihood,
    marginal_log_likelihood,
)
from tf_decomp.metrics.overlap import OverlapReport, overlap_report
from tf_decomp.metrics.prediction import DCIScore, dci_disentanglement, sap_score
from tf_decomp.metrics.regularisation import (
    RegularisationReport,
    regularisation_report,
)
from tf_decomp.metrics.robustness import interventional_robustness_score
from tf_decomp.metrics.scores import Score
from tf_decomp.metrics.sparsity import HoyerSparsity, hoyer_sparsity

Estimate = Score  # the former name of Score, kept for one release

__all__ = [
    "DCIScore",
    "DisentanglementRanking",
    "Estimate",
    "FactorVAEScore",
    "HoyerSparsity",
    "InfoMEC",
    "MarginalLogLikelihood",
    "MeanCorrelation",
    "ModularityExplicitness",
    "OverlapReport",
    "RegularisationReport",
    "Score",
    "active_dimensions",
    "beta_vae_score",
    "dci_disentanglement",
    "encode_data",
    "factor_vae_score",
    "hoyer_sparsity",
    "info_mec",
    "interventional_robustness_score",
    "marginal_log_likelihood",
    "mean_correlation_coefficient",
    "modularity_explicitness",
    "mutual_information",
    "mutual_information_gap",
    "normal_scores",
    "overlap_report",
    "regularisation_report",
    "sap_score",
    "unsupervised_disentanglement_ranking",
]
