# SPDX-License-Identifier: Apache-2.0
"""Trains a grid: bin/sweep.py --config=pinwheel --grid="seed=0:8"."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import sweep

if __name__ == "__main__":
    sweep()
