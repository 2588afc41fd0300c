# SPDX-License-Identifier: Apache-2.0
"""Section 4 of the paper as code: its theorems and corollaries, ready to be checked."""

from tf_decomp.theory.annealing import AnnealedPrior, anneal
from tf_decomp.theory.maximum_entropy import (
    MaximumEntropyTerms,
    corollary_1_constant,
    maximum_entropy_objective,
    maximum_entropy_terms,
    normal_maximum_entropy_objective,
)
from tf_decomp.theory.theorems import (
    RotationCurve,
    corollary_1_gap,
    corollary_2_gradients,
    objective_by_angle,
    theorem_1_gap,
)
from tf_decomp.theory.transforms import (
    MappedDecoder,
    MappedEncoder,
    rescale,
    rotate,
    rotation_matrix,
)

__all__ = [
    "AnnealedPrior",
    "MappedDecoder",
    "MappedEncoder",
    "MaximumEntropyTerms",
    "RotationCurve",
    "anneal",
    "corollary_1_constant",
    "corollary_1_gap",
    "corollary_2_gradients",
    "maximum_entropy_objective",
    "maximum_entropy_terms",
    "normal_maximum_entropy_objective",
    "objective_by_angle",
    "rescale",
    "rotate",
    "rotation_matrix",
    "theorem_1_gap",
]
