# SPDX-License-Identifier: Apache-2.0
"""Exports a run: bin/export.py --run_dir=RUN --export_dir=saved_models/NAME."""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over

try:
    from tf_decomp import cli
    from tf_decomp.experiment import model_card
except ImportError as error:
    if error.name != "tf_decomp":
        raise
    sys.exit(f"export.py: {error}")
except KeyboardInterrupt:
    print("export.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Exports the run that the flags name."""
    target = model_card.export_run(
        cli.path_from_flag("run_dir"), cli.path_from_flag("export_dir")
    )
    print(f"exported: {target}")


if __name__ == "__main__":
    cli.define_flags(
        run_dir=("", "Folder of a finished run."),
        export_dir=("", "Folder to make, by custom saved_models/NAME."),
    )
    cli.run(main)
