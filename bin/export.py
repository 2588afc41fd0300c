# SPDX-License-Identifier: Apache-2.0
"""Exports a run: bin/export.py --run_dir=RUN --export_dir=saved_models/NAME."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import export

if __name__ == "__main__":
    export()
