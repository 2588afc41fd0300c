# SPDX-License-Identifier: Apache-2.0
"""The paper's figures and claims, from networks trained here."""

from tf_decomp.reproduce.claims import CLAIMS, Claim

__all__ = ["CLAIMS", "Claim"]
