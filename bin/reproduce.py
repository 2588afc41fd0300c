# SPDX-License-Identifier: Apache-2.0
"""Makes a figure of the paper: bin/reproduce.py --figure=fig3 --scale=cpu."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_decomp_start import start

if __name__ == "__main__":
    start("paper.program")
