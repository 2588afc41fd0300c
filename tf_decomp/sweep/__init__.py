# SPDX-License-Identifier: Apache-2.0
"""Many runs: every point of a grid of settings, in processes of their own.

    OUTPUT_DIR/
      sweep.json          the sweep's own settings
      sweep.csv           one row a point, rewritten when a run ends
      sweep-0003-of-0010.csv    the rows of one part, where it is trained in parts
      beta=0.1,seed=3/    a run's folder, as tf-decomp-train makes it
      .submitit/          logs, in a folder for each job, named by its first run

Runs resume as those of tf-decomp-train do, so the same call continues a sweep.
"""

from tf_decomp.sweep.grid import Run, grid_points, parse_grid, plan_runs
from tf_decomp.sweep.launcher import CLUSTERS
from tf_decomp.sweep.runner import sweep, sweeps, write_table

__all__ = [
    "CLUSTERS",
    "Run",
    "grid_points",
    "parse_grid",
    "plan_runs",
    "sweep",
    "sweeps",
    "write_table",
]
