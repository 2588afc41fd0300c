# SPDX-License-Identifier: Apache-2.0
"""The paper's figures and claims, from networks trained here.

    docs/results/
      claims.json         the verdict on every claim, with its numbers
      FIGURE/data.csv     what a figure is drawn from and its claims judged by
"""

from tf_decomp.reproduce.claims import CLAIMS, Claim
from tf_decomp.reproduce.results import write_verdicts

__all__ = ["CLAIMS", "Claim", "write_verdicts"]
