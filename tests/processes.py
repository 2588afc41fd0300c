# SPDX-License-Identifier: Apache-2.0
"""Python in processes of its own, as a shell starts it: start, finish, run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BIN = ROOT / "bin"
TRAIN = BIN / "train.py"
TIME_LIMIT = 300  # seconds


def start_python(
    *arguments: Any, environment: dict[str, str] | None = None, **others: Any
) -> subprocess.Popen[str]:
    """Starts Python; what it prints is kept, unless `others` say where it goes."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **others},
    )


def finish(
    process: subprocess.Popen[str], status: int = 0, seconds: float = TIME_LIMIT
) -> tuple[str, str]:
    """Waits for the end; returns what was printed and what went to stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        with process:  # what it has started may still hold the pipes
            process.kill()
        raise
    assert process.returncode == status, (out or "")[-2000:] + (err or "")
    return out, err


def run_python(
    *arguments: Any, status: int = 0, seconds: float = TIME_LIMIT, **others: Any
) -> tuple[str, str]:
    """Starts Python, waits for its end and returns what it printed."""
    return finish(start_python(*arguments, **others), status, seconds)


def wait_until(true: Callable[[], object], *processes: subprocess.Popen[str]) -> None:
    """Waits for an event while all processes run."""
    deadline = time.monotonic() + TIME_LIMIT
    while not true():
        for process in processes:
            if process.poll() is not None:
                pytest.fail(f"a process ended: {process.communicate(timeout=10)}")
        assert time.monotonic() < deadline
        time.sleep(0.0005)
