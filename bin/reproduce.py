# SPDX-License-Identifier: Apache-2.0
"""Judges the paper's claims by the tables at hand: bin/reproduce.py --verdicts."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    from tf_decomp import cli, reproduce
except ImportError as error:
    if error.name != "tf_decomp":
        raise
    sys.exit(f"reproduce.py: {error}")


def main() -> None:
    """Writes claims.json and prints its verdicts."""
    for claim in reproduce.write_verdicts(cli.path_from_flag("results_dir")):
        print(f"{claim['id']}: {claim['verdict']}")


if __name__ == "__main__":
    cli.define_flags(
        results_dir=("docs/results", "Folder of the figures' tables and claims.json."),
        verdicts=(False, "Judge the claims by the tables at hand."),
    )
    cli.run(main)
