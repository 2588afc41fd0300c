# SPDX-License-Identifier: Apache-2.0
"""Trains a grid: bin/sweep.py --flagfile=configs/pinwheel.flags --grid="seed=0:8"."""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over

try:
    from absl import flags

    from tf_decomp import cli, sweep
except ImportError as error:
    if error.name not in ("absl", "tf_decomp"):
        raise
    sys.exit(f"sweep.py: {error}")
except KeyboardInterrupt:
    print("sweep.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Trains every point of the grid; exits with 1 if any failed."""
    runs = sweep.sweep(
        flags.FLAGS.grid,
        cli.config_from_flags,
        cluster=flags.FLAGS.cluster,
        parallel=flags.FLAGS.parallel,
        slurm=flags.FLAGS.slurm,
    )
    sys.exit(int(any(run.status == "failed" for run in runs)))


if __name__ == "__main__":
    cli.define_config_flags()
    cli.define_flags(
        grid=("", "Lists and ranges of settings: beta=0.1,1,5;seed=0:8."),
        cluster=("local", f"One of {', '.join(sweep.CLUSTERS)}."),
        parallel=(0, "Runs at once; 0: the number of cores, or 100 on Slurm."),
        slurm=([], "Slurm parameters: partition=long,timeout_min=600,mem_gb=8."),
    )
    cli.run(main)
