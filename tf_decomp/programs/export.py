# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-export, bin/export.py."""

from absl import flags

from tf_decomp import cli
from tf_decomp.experiment import model_card


def main() -> None:
    """Exports a finished run, with a card that says what it is."""
    run_dir, export_dir = map(cli.path_from_flag, ("run_dir", "export_dir"))
    target = model_card.export_run(run_dir, export_dir, flags.FLAGS.format)
    print(f"exported: {target}")


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        run_dir=("", "Folder of a finished run."),
        export_dir=("", "Where the next version goes, by custom saved_models/NAME."),
        format=(
            ["saved_model"],
            "Files to write: saved_model (always), onnx, openvino, litert (these with "
            "the extra serving).",
        ),
    )
    cli.run(main)
