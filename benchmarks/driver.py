# SPDX-License-Identifier: Apache-2.0
"""Runs the workloads in turns, each in its own process, and judges what they gave."""

import importlib.util
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.timing import cores
from benchmarks.workloads import (
    BASELINE,
    BOTH,
    OURS,
    TARGETS,
    TORCH,
    WORKLOADS,
    Target,
)
from tf_decomp.errors import InputError
from tf_decomp.experiment.environment import describe_environment
from tf_decomp.files import write_json

# workload -> side -> the values of each repetition, by name.
Results = dict[str, dict[str, list[dict[str, float]]]]

_ROOT = Path(__file__).resolve().parents[1]
_MODULES = {OURS: "benchmarks.ours", TORCH: "benchmarks.plain_torch"}
_RELATIONS = {">=": operator.ge, "<=": operator.le}
_SECONDS, _QUICK_SECONDS = 3.0, 0.05


def run(only: Sequence[str], quick: bool, output: Path) -> list[str]:
    """Measures, prints the table, writes the JSON; gives what is wrong, by line.

    Args:
        only: Names of WORKLOADS; empty means all.
        quick: Whether to run each once, with tiny sizes and without judgement.
        output: The JSON file.

    Raises:
        InputError: A name is not known.
    """
    unknown = [name for name in only if name not in WORKLOADS]
    if unknown:
        raise InputError(
            f"only: expected names among {', '.join(WORKLOADS)}; received {unknown[0]}"
        )
    start, sides = time.time(), BOTH if has_torch() else (OURS,)
    names = [name for name in WORKLOADS if not only or name in only or name == "matmul"]
    results: Results = {}
    for name in names:
        results[name] = _measure(name, sides, quick)
    findings = [] if quick else judge(results, "missed", TARGETS)
    doubts = (
        [] if quick else judge(results, "slow machine or broken baseline", BASELINE)
    )
    print(table(results))
    print("\n".join([*loops(results), *doubts]))
    if TORCH not in sides:
        print("PyTorch is missing, so are the ratios: pip install '.[bench]'")
    print(f"{time.time() - start:.0f} s in all")
    report = {
        "machine": _describe_machine(),
        "quick": quick,
        "seconds": time.time() - start,
        "workloads": {name: _summary(results, name) for name in names},
        "findings": findings,
        "doubts": doubts,
    }
    write_json(output, report)
    return findings


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def judge(results: Results, prefix: str, targets: Iterable[Target]) -> list[str]:
    """Returns a line for every target that these results miss.

    A target of a workload that was not run is not judged; one whose PyTorch side is
    missing is missed.

    Args:
        results: Of one run.
        prefix: How each line starts.
        targets: Of `workloads`.
    """
    findings = []
    for target in targets:
        limit = _limit(results, target)
        if target.workload not in results or limit is None:
            continue
        given = number(results, target.workload, target.value)
        what = f"{target.workload} {target.value}"
        if given is None:
            findings.append(f"{prefix}: {what} was not measured")
        elif not _RELATIONS[target.relation](given, limit):
            wanted = f"{target.relation} {limit:.4g}"
            findings.append(f"{prefix}: {what} is {given:.4g}, wanted {wanted}")
    return findings


def loops(results: Results) -> list[str]:
    """Returns a line for every workload whose PyTorch side has a loop over dimensions.

    Args:
        results: Of one run.
    """
    lines = []
    for name, sides in results.items():
        values = [each["loop"] for each in sides.get(TORCH, []) if "loop" in each]
        ours = number(results, name, OURS)
        if values and ours is not None:
            loop = statistics.median(values)
            smaller = WORKLOADS[name].smaller_is_better
            ratio = loop / ours if smaller else ours / loop
            lines.append(
                f"{name}: PyTorch with a loop over dimensions {_text(loop)} "
                f"{WORKLOADS[name].unit}, ratio {ratio:.2f}"
            )
    return lines


def number(results: Results, name: str, value: str) -> float | None:
    """Returns the median over repetitions of a value; None where it is missing.

    A ratio is the median of those of the repetitions, whose sides ran one after the
    other: the speed of a shared machine drifts.

    Args:
        results: Of one run.
        name: The workload.
        value: "ours", "torch", "ratio" (above 1: ours is faster), or another value
            of our side.
    """
    sides = results[name]
    if value == "ratio":
        both = zip(sides.get(OURS, []), sides.get(TORCH, []), strict=False)
        ratios = [ours["value"] / torch["value"] for ours, torch in both]
        if WORKLOADS[name].smaller_is_better:
            ratios = [1 / ratio for ratio in ratios]
        return statistics.median(ratios) if ratios else None
    side, key = (value, "value") if value in BOTH else (OURS, value)
    values = [each[key] for each in sides.get(side, []) if key in each]
    return statistics.median(values) if values else None


def table(results: Results) -> str:
    """Returns the results as text, a line for every workload.

    Args:
        results: Of one run.
    """
    head = ["workload", "unit", "tf_decomp", "(min-max)", "PyTorch", "(min-max)"]
    head += ["ratio", "target", "examples/s", "MB", "MB PyTorch", "% of peak"]
    rows = [head]
    for name in results:
        summary = _summary(results, name)
        ratio, limits = summary["ratio"], _limits(name)
        memories = [summary.get(side, {}).get("memory_mb") for side in BOTH]
        share = summary["share_of_peak"]
        rows.append(
            [
                *(name, WORKLOADS[name].unit),
                *(cell for side in BOTH for cell in _cells(summary.get(side))),
                "missing" if ratio is None else f"{ratio:.2f}",
                limits,
                _text(summary["examples_per_second"]),
                *(_text(memory) for memory in memories),
                _text(None if share is None else 100 * share),
            ]
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _measure(
    name: str, sides: Iterable[str], quick: bool
) -> dict[str, list[dict[str, float]]]:
    """Runs the sides in turns: A B A B A B."""
    taking_part = [side for side in sides if side in WORKLOADS[name].sides]
    values: dict[str, list[dict[str, float]]] = {side: [] for side in taking_part}
    for _ in range(1 if quick else WORKLOADS[name].repetitions):
        for side in taking_part:
            values[side].append(measure_alone(_MODULES[side], name, quick))
            given = values[side][-1]["value"]
            print(f"{name} {side}: {given:.5g} {WORKLOADS[name].unit}", flush=True)
    return values


def measure_alone(module: str, name: str, quick: bool) -> dict[str, float]:
    """Returns what a workload gives in a process of its own.

    Args:
        module: Its module, which is a program.
        name: The workload.
        quick: Whether sizes are tiny.

    Raises:
        RuntimeError: The process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", module, name, str(result)]
        command.append(f"--seconds={_QUICK_SECONDS if quick else _SECONDS}")
        done = subprocess.run(
            [*command, *(["--quick"] if quick else [])],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode:
            raise RuntimeError(f"{name}, {module}: the worker failed\n{done.stderr}")
        return json.loads(result.read_text(encoding="utf-8"))


def _summary(results: Results, name: str) -> dict[str, Any]:
    """Returns what the JSON says of a workload."""
    workload, summary = WORKLOADS[name], {}
    for side, repetitions in results[name].items():
        values = [each["value"] for each in repetitions]
        summary[side] = {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "memory_mb": statistics.median(each["memory_mb"] for each in repetitions),
            "repetitions": repetitions,
        }
    rate, flops = number(results, name, OURS), number(results, name, "flops_an_example")
    peaks = [number(results, "matmul", side) for side in BOTH]
    peak = max(1e9 * each for each in peaks if each is not None)
    examples = None
    if rate is not None and workload.unit == "images/s":
        examples = rate
    elif rate is not None and workload.unit == "steps/s":
        examples = rate * workload.batch
    share = None if examples is None or flops is None else examples * flops / peak
    return {
        "about": workload.about,
        "unit": workload.unit,
        **summary,
        "ratio": number(results, name, "ratio"),
        "examples_per_second": examples,
        "share_of_peak": share,
    }


def _limit(results: Results, target: Target) -> float | None:
    """Returns a target's number, of another workload where it names one."""
    if not isinstance(target.limit, str):
        return target.limit
    name, value = target.limit.split("/")
    return number(results, name, value) if name in results else None


def _limits(name: str) -> str:
    """Returns a workload's targets as text."""
    texts = []
    for target in TARGETS:
        if target.workload == name:
            limit = target.limit
            text = limit if isinstance(limit, str) else f"{limit:g}"
            texts.append(f"{target.value} {target.relation} {text}")
    return ", ".join(texts)


def _cells(side: dict[str, Any] | None) -> list[str]:
    if side is None:
        return ["", ""]
    spread = f"({_text(side['min'])}-{_text(side['max'])})"
    return [_text(side["median"]), spread]


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _describe_machine() -> dict[str, Any]:
    facts = describe_environment()
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    facts["processor"] = models[0] if models else facts["processor"]
    facts["cores"] = cores()
    if has_torch():
        facts["versions"]["torch"] = metadata.version("torch")
    del facts["threads"], facts["peak_memory_mb"]
    return facts
