# SPDX-License-Identifier: Apache-2.0
"""What a run ran on."""

import os
import platform
import resource
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf

_PACKAGES = ("tf-decomp", "tensorflow", "tensorflow-probability", "keras", "numpy")


def describe_environment() -> dict[str, Any]:
    """Returns versions, devices, threads, commit and peak memory of this process.

    Example:
        >>> describe_environment()["versions"]["keras"]
    """
    devices = [
        {"type": device.device_type, "name": device.name}
        for device in tf.config.list_logical_devices()
    ]
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "devices": devices,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": {
            "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "commit": _commit(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _commit() -> str | None:
    """Returns the commit of this package's source tree; None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
