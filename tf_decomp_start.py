# SPDX-License-Identifier: Apache-2.0
"""Starts the programs of tf_decomp: what holds until its libraries have loaded.

It lies outside the package, whose import loads TensorFlow.
"""

import importlib
import os
import signal
import sys
from pathlib import Path


def start(module: str) -> None:
    """Imports a program and runs it.

    A library that is missing ends it with one line, as does Ctrl-C meanwhile; SIGTERM
    ends it silently until the program takes over.

    Args:
        module: The program; its `run` takes nothing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    name = Path(sys.argv[0]).name
    try:
        program = importlib.import_module(module)
    except ImportError as error:
        if error.name not in ("absl", "tf_decomp"):
            raise
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
    program.run()


def train() -> None:
    """tf-decomp-train, bin/train.py."""
    start("tf_decomp.programs.train")


def evaluate() -> None:
    """tf-decomp-evaluate, bin/evaluate.py."""
    start("tf_decomp.programs.evaluate")


def export() -> None:
    """tf-decomp-export, bin/export.py."""
    start("tf_decomp.programs.export")


def sweep() -> None:
    """tf-decomp-sweep, bin/sweep.py."""
    start("tf_decomp.programs.sweep")
