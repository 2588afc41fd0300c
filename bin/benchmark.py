# SPDX-License-Identifier: Apache-2.0
"""Measures speed and memory beside plain PyTorch: python bin/benchmark.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import start

if __name__ == "__main__":
    start("benchmarks.program")
