# SPDX-License-Identifier: Apache-2.0
"""One measurement in a process of its own: timing, peak memory, the result file."""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_CHUNKS = 3


class Settings(NamedTuple):
    """How long and how large a measurement is.

    Attributes:
        seconds: Time to measure.
        quick: Whether sizes are tiny, so that the numbers mean nothing.
    """

    seconds: float
    quick: bool


def seconds_a_call(function: Callable[[], Any], seconds: float) -> float:
    """Returns the median over three chunks of calls, after a warm-up of a third.

    Args:
        function: Returns when its work is done.
        seconds: About how long all calls together take; at least five are made.

    Example:
        >>> seconds_a_call(lambda: sum(range(1000)), seconds=0.1) < 0.1
        True
    """
    function()  # compiles
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < seconds / _CHUNKS:
        function()
        calls += 1
    return statistics.median(_chunk(function, calls) for _ in range(_CHUNKS))


def interleaved(
    functions: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of the calls of each, called in turns.

    Args:
        functions: By name; each is called once before anything is timed.
        rounds: How often each is timed.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(_chunk(function, 1))
    return times


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def peak_memory_mb() -> float:
    """Returns the largest resident size of this process so far.

    `ru_maxrss` starts from the size of the process that started this one; the
    kernel's high-water mark does not.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_worker(
    workloads: Mapping[str, Callable[[Settings], dict[str, float]]],
    arguments: list[str] | None = None,
) -> None:
    """Runs the workload that the command line names and writes its result.

    Args:
        workloads: Each gives values by name, the main one under "value".
        arguments: Those of the process by default.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(workloads))
    parser.add_argument("result", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    imports = peak_memory_mb()
    values = workloads[given.workload](Settings(given.seconds, given.quick))
    values["memory_mb"] = peak_memory_mb()
    values["memory_above_imports_mb"] = values["memory_mb"] - imports
    given.result.write_text(json.dumps(values), encoding="utf-8")


def _chunk(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls
