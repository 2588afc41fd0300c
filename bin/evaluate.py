# SPDX-License-Identifier: Apache-2.0
"""Judges a run or anybody's codes: bin/evaluate.py --run_dir=runs/pinwheel."""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over

try:
    from absl import flags

    from tf_decomp import cli, evaluation
except ImportError as error:
    if error.name not in ("absl", "tf_decomp"):
        raise
    sys.exit(f"evaluate.py: {error}")
except KeyboardInterrupt:
    print("evaluate.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Evaluates what the flags name."""
    groups = flags.FLAGS.metrics
    if flags.FLAGS.codes:
        codes, output_dir = cli.path_from_flag("codes"), cli.path_from_flag("run_dir")
        report = evaluation.evaluate_codes(codes, output_dir, groups)
    else:
        report = evaluation.evaluate_run(cli.path_from_flag("run_dir"), groups)
    print(f"report: {report}")


if __name__ == "__main__":
    cli.define_flags(
        run_dir=("", "Folder of a finished run; with --codes, where the results go."),
        codes=("", "An npz with codes and any of scales, factors, instead of a run."),
        metrics=(list(evaluation.GROUPS), "Groups of metrics."),
    )
    cli.run(main)
