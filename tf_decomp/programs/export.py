# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-export, bin/export.py."""

from tf_decomp import cli
from tf_decomp.experiment import model_card


def main() -> None:
    """Exports a finished run, with a card that says what it is."""
    target = model_card.export_run(
        cli.path_from_flag("run_dir"), cli.path_from_flag("export_dir")
    )
    print(f"exported: {target}")


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        run_dir=("", "Folder of a finished run."),
        export_dir=("", "Folder to make, by custom saved_models/NAME."),
    )
    cli.run(main)
