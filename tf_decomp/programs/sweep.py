# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-sweep, bin/sweep.py."""

import sys

from absl import flags

from tf_decomp import cli, sweep


def main() -> None:
    """Trains every point of a grid; the same command continues."""
    runs = sweep.sweep(
        flags.FLAGS.grid,
        cli.config_from_flags,
        cluster=flags.FLAGS.cluster,
        parallel=flags.FLAGS.parallel,
        slurm=flags.FLAGS.slurm,
    )
    sys.exit(int(any(run.status == "failed" for run in runs)))


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "Grid",
        grid=("", "Lists and ranges of settings: beta=0.1,1,5;seed=0:8."),
        cluster=("local", f"One of {', '.join(sweep.CLUSTERS)}."),
        parallel=(0, "Runs at once; 0: the number of cores, or 100 on Slurm."),
        slurm=([], "Slurm parameters: partition=long,timeout_min=600,mem_gb=8."),
    )
    cli.define_config_flags()
    cli.run(main)
