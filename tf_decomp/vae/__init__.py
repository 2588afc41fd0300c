# SPDX-License-Identifier: Apache-2.0
"""The model: the objective (7) as a Keras model, and how its steps run."""

from tf_decomp.vae.conditional import ConditionalVAE
from tf_decomp.vae.model import DecompositionVAE
from tf_decomp.vae.schedule import LinearSchedule

__all__ = ["ConditionalVAE", "DecompositionVAE", "LinearSchedule"]
