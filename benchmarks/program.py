# SPDX-License-Identifier: Apache-2.0
"""The program bin/benchmark.py."""

import sys

from absl import flags

from benchmarks import driver, gpu, scaling
from tf_decomp import cli


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        only=([], "Workloads to run; empty: all."),
        quick=(False, "Tiny sizes, once, no targets: a smoke test."),
        scaling=(False, "Measure how cost grows with sizes instead."),
        gpu=(False, "Measure what a GPU does otherwise; skipped without one."),
        output=("runs/benchmark.json", "The JSON file to write."),
    )
    cli.run(main)


def main() -> None:
    """Measures speed and memory beside plain PyTorch; status 1 for a missed target."""
    output, quick = cli.path_from_flag("output"), flags.FLAGS.quick
    if flags.FLAGS.scaling:
        return scaling.run(quick, output)
    if flags.FLAGS.gpu:
        return gpu.run(quick, output)
    findings = driver.run(flags.FLAGS.only, quick, output)
    if findings:
        sys.exit("\n".join(findings))
