# SPDX-License-Identifier: Apache-2.0
"""Judges a run or anybody's codes: bin/evaluate.py --run_dir=runs/pinwheel."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import evaluate

if __name__ == "__main__":
    evaluate()
