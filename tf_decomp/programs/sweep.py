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
        shard=flags.FLAGS.shard,
        runs_per_job=flags.FLAGS.runs_per_job,
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
        shard=("", "i/n: train part i of n, 0 <= i < n, as an array job does."),
        runs_per_job=(1, "Runs that a job trains one after another."),
        parallel=(
            0,
            "Jobs at once; 0: GPUs in CUDA_VISIBLE_DEVICES, else cores; 100 on Slurm.",
        ),
        slurm=([], "Slurm parameters: partition=long,timeout_min=600,mem_gb=8."),
    )
    cli.define_config_flags()
    cli.run(main)
