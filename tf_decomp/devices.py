# SPDX-License-Identifier: Apache-2.0
"""What computes: a CPU or GPUs, as far as how to compute depends on it."""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.client import device_lib


class Device(NamedTuple):
    """The device on which TensorFlow puts operations that nobody has placed.

    Attributes:
        kind: "CPU" or "GPU".
        memory: Bytes that TensorFlow may take there, of the smallest GPU; 0 where
            that is not known, as for a CPU.
    """

    kind: str
    memory: int


@functools.cache
def computing_device() -> Device:
    """Returns the device; asking starts TensorFlow's runtime.

    Example:
        >>> computing_device().kind
        'CPU'
    """
    if not tf.config.list_logical_devices("GPU"):
        return Device("CPU", 0)
    try:
        return Device("GPU", smallest_memory(device_lib.list_local_devices()))
    except (tf.errors.OpError, RuntimeError):  # GPUs that are split into logical ones
        return Device("GPU", 0)


def smallest_memory(devices: Iterable[Any]) -> int:
    """Returns the bytes of the GPU that has the fewest.

    Args:
        devices: As TensorFlow lists them, with `device_type` and `memory_limit`.
    """
    limits = (each.memory_limit for each in devices if each.device_type == "GPU")
    return min(limits, default=0)
