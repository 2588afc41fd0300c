# SPDX-License-Identifier: Apache-2.0
"""Divergences: KL(q(z|x) || p(z)), and D(q(z), p(z)) on the aggregate."""

from tf_decomp.divergences.adversarial import AdversarialDivergence
from tf_decomp.divergences.capacity import KLCapacity
from tf_decomp.divergences.kl import (
    closed_form_kl,
    inclusive_kl,
    inclusive_kl_divergence,
    kl_divergence,
)
from tf_decomp.divergences.mmd import (
    dimensionwise_mmd,
    dimensionwise_mmd_divergence,
    joint_mmd,
    joint_mmd_divergence,
)
from tf_decomp.divergences.moments import (
    dip_vae_i,
    dip_vae_i_divergence,
    dip_vae_ii,
    dip_vae_ii_divergence,
)
from tf_decomp.divergences.sliced import (
    sliced_wasserstein,
    sliced_wasserstein_divergence,
)
from tf_decomp.divergences.support import (
    hausdorff_support,
    hausdorff_support_divergence,
)
from tf_decomp.divergences.total_correlation import TotalCorrelation

__all__ = [
    "DIVERGENCES",
    "AdversarialDivergence",
    "KLCapacity",
    "TotalCorrelation",
    "closed_form_kl",
    "dimensionwise_mmd",
    "dimensionwise_mmd_divergence",
    "dip_vae_i",
    "dip_vae_i_divergence",
    "dip_vae_ii",
    "dip_vae_ii_divergence",
    "hausdorff_support",
    "hausdorff_support_divergence",
    "inclusive_kl",
    "inclusive_kl_divergence",
    "joint_mmd",
    "joint_mmd_divergence",
    "kl_divergence",
    "sliced_wasserstein",
    "sliced_wasserstein_divergence",
]

# Those that need nothing but their arguments.
DIVERGENCES = {
    "inclusive_kl": inclusive_kl_divergence,
    "dimensionwise_mmd": dimensionwise_mmd_divergence,
    "joint_mmd": joint_mmd_divergence,
    "sliced_wasserstein": sliced_wasserstein_divergence,
    "dip_vae_i": dip_vae_i_divergence,
    "dip_vae_ii": dip_vae_ii_divergence,
    "hausdorff_support": hausdorff_support_divergence,
}
