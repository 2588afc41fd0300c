# SPDX-License-Identifier: Apache-2.0
"""Judging a representation; the functions here take plain arrays."""

from tf_decomp.metrics.disentanglement import (
    FactorVAEScore,
    beta_vae_score,
    factor_vae_score,
    normal_scores,
)
from tf_decomp.metrics.disentanglement_information import (
    ModularityExplicitness,
    modularity_explicitness,
    mutual_information,
    mutual_information_gap,
)
from tf_decomp.metrics.disentanglement_prediction import (
    DCIScore,
    dci_disentanglement,
    sap_score,
)
from tf_decomp.metrics.estimates import Estimate, active_dimensions
from tf_decomp.metrics.sparsity import HoyerSparsity, hoyer_sparsity

__all__ = [
    "DCIScore",
    "Estimate",
    "FactorVAEScore",
    "HoyerSparsity",
    "ModularityExplicitness",
    "active_dimensions",
    "beta_vae_score",
    "dci_disentanglement",
    "factor_vae_score",
    "hoyer_sparsity",
    "modularity_explicitness",
    "mutual_information",
    "mutual_information_gap",
    "normal_scores",
    "sap_score",
]
