# SPDX-License-Identifier: Apache-2.0
"""The judgement of a run, or of anybody's codes: metrics, figures, report, explorer."""

from tf_decomp.evaluation.explorer import explore_run
from tf_decomp.evaluation.judge import evaluate_codes, evaluate_run
from tf_decomp.evaluation.rows import GROUPS

__all__ = ["GROUPS", "evaluate_codes", "evaluate_run", "explore_run"]
