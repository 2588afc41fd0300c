# SPDX-License-Identifier: Apache-2.0
"""The paper's figures and claims, from networks trained here.

    docs/results/
      claims.json         the verdict on every claim, with its numbers
      FIGURE/data.csv     what the figure is drawn from and its claims judged by
      FIGURE/figure.png   (and .svg), config.flags, README.md

Data flow one way: `figures` (their settings) -> `runs` (sweeps) -> `measures` and
`structures` -> `table` (data.csv) -> `curves`, `densities` and `structure_drawings`,
`verdicts` (by `claims`, `exact_claims` and `structure_claims`), `readme`; `rounds` goes
this way. `theorems` and `estimators` are computed in place of runs. `power` simulates
how often the rules are right.
"""

from paper.claims import CLAIMS, Claim
from paper.figures import FIGURES, SCALES
from paper.rounds import redraw, reproduce
from paper.verdicts import write_verdicts

__all__ = [
    "CLAIMS",
    "FIGURES",
    "SCALES",
    "Claim",
    "redraw",
    "reproduce",
    "write_verdicts",
]
