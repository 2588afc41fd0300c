# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-train, bin/train.py."""

from tf_decomp import cli
from tf_decomp.experiment import train


def main() -> None:
    """Trains a model; the same command continues a run."""
    config = cli.config_from_flags()
    cli.announce(config)
    results = train(config)
    for name, result in results.items():
        value, error, n = result["value"], result["standard_error"], result["n"]
        print(f"{name:22} {value:12.4f} +- {error:.4f} (standard error, n = {n})")
    print(f"files: {config.output_dir}")


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_config_flags()
    cli.run(main)
