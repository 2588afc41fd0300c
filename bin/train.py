# SPDX-License-Identifier: Apache-2.0
"""Trains a model: python bin/train.py --config=pinwheel."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import train

if __name__ == "__main__":
    train()
