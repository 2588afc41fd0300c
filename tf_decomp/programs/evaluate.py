# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-evaluate, bin/evaluate.py."""

from absl import flags

from tf_decomp import cli, evaluation


def main() -> None:
    """Judges a finished run, or anybody's codes."""
    groups = flags.FLAGS.metrics
    if flags.FLAGS.codes:
        codes, output_dir = cli.path_from_flag("codes"), cli.path_from_flag("run_dir")
        report = evaluation.evaluate_codes(codes, output_dir, groups)
    else:
        report = evaluation.evaluate_run(cli.path_from_flag("run_dir"), groups)
    print(f"report: {report}")


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        run_dir=("", "Folder of a finished run; with --codes, where the results go."),
        codes=("", "An npz with codes and any of scales, factors, instead of a run."),
        metrics=(list(evaluation.GROUPS), "Groups of metrics."),
    )
    cli.run(main)
