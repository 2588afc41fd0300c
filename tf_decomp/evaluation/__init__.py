# SPDX-License-Identifier: Apache-2.0
"""The judgement of runs, or of anybody's codes: metrics, figures, pages."""

from tf_decomp.evaluation.compare import compare_runs
from tf_decomp.evaluation.explorer import explore_run
from tf_decomp.evaluation.judge import evaluate_codes, evaluate_run
from tf_decomp.evaluation.rows import GROUPS

__all__ = ["GROUPS", "compare_runs", "evaluate_codes", "evaluate_run", "explore_run"]
