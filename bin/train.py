# SPDX-License-Identifier: Apache-2.0
"""Trains a model: python bin/train.py --flagfile=configs/pinwheel.flags."""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over

try:
    from tf_decomp import cli, train
except ImportError as error:
    if error.name != "tf_decomp":
        raise
    sys.exit(f"train.py: {error}")
except KeyboardInterrupt:
    print("train.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Trains what the flags say."""
    config = cli.config_from_flags()
    cli.announce(config)
    results = train(config)
    for name, result in results.items():
        value, error, n = result["value"], result["standard_error"], result["n"]
        print(f"{name:22} {value:12.4f} +- {error:.4f} (standard error, n = {n})")
    print(f"files: {config.output_dir}")


if __name__ == "__main__":
    cli.define_config_flags()
    cli.run(main)
