# SPDX-License-Identifier: Apache-2.0
"""explorer.html: a run's decoder to play with, in one file for a browser."""

from tf_decomp.evaluation.explorer.page import explore_run

__all__ = ["explore_run"]
