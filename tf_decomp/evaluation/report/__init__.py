# SPDX-License-Identifier: Apache-2.0
"""report.html: what a run and its evaluation found, in one file for people."""

from tf_decomp.evaluation.report.render import render_report

__all__ = ["render_report"]
