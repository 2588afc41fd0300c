# SPDX-License-Identifier: Apache-2.0
"""The judgement of a run, or of anybody's codes: metrics, figures and a report."""

from tf_decomp.evaluation.judge import GROUPS, evaluate_codes, evaluate_run

__all__ = ["GROUPS", "evaluate_codes", "evaluate_run"]
