# SPDX-License-Identifier: Apache-2.0
"""Measures speed and memory beside plain PyTorch: python bin/benchmark.py."""

import os
import signal
import sys
from pathlib import Path

from absl import flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/

try:
    from benchmarks import driver, scaling
    from tf_decomp import cli
except ImportError as error:
    if error.name != "tf_decomp":
        raise
    sys.exit(f"benchmark.py: {error}")
except KeyboardInterrupt:
    print("benchmark.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Measures what the flags say; status 1 where a target is missed."""
    output, quick = cli.path_from_flag("output"), flags.FLAGS.quick
    if flags.FLAGS.scaling:
        return scaling.run(quick, output)
    findings = driver.run(flags.FLAGS.only, quick, output)
    if findings:
        sys.exit("\n".join(findings))


if __name__ == "__main__":
    cli.define_flags(
        only=([], "Workloads to run; empty: all."),
        output=("runs/benchmark.json", "The JSON file to write."),
        quick=(False, "Tiny sizes, once, no targets: a smoke test."),
        scaling=(False, "Measure how cost grows with sizes instead."),
    )
    cli.run(main)
