# SPDX-License-Identifier: Apache-2.0
"""The grid of a sweep: its text, its points in order, and their runs."""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import DEFAULTS, ExperimentConfig, parse_setting

_MOST_RUNS = 10_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=,-]")
_LONGEST_NAME = 120


@dataclasses.dataclass
class Run:
    """A point of the grid and what became of it.

    Args:
        name: Its folder below the sweep's.
        values: The grid's settings at this point, as text.
        config: All its settings.
        status: `pending`, `finished` or `failed`.
        error: Why it failed, one line.
        seconds: What it took; of the last process where it was resumed.
        metrics: What its metrics.json holds.

    Example:
        >>> [run.metrics["test/elbo"]["value"] for run in sweep("seed=0:3")]
    """

    name: str
    values: Mapping[str, str]
    config: ExperimentConfig
    status: str = "pending"
    error: str = ""
    seconds: float | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def parse_grid(text: str) -> dict[str, list[Any]]:
    """Returns the values of each setting of a grid.

    Args:
        text: `beta=0.1,1,5;seed=0:8`: lists, and ranges of whole numbers without
            their end. Layers of `hidden` are joined by x: `hidden=100,50x50`.

    Raises:
        InputError: A setting is not known, or a value is bad, missing or there twice.

    Example:
        >>> parse_grid("beta=0.1,1;seed=0:3")
        {'beta': [0.1, 1.0], 'seed': [0, 1, 2]}
    """
    grid: dict[str, list[Any]] = {}
    for part in text.split(";"):
        name, equals, values = map(str.strip, part.partition("="))
        if not (name and equals):
            raise InputError(
                f"grid: expected setting=value,value;setting=first:end; received "
                f"{part.strip()!r} in {text!r}"
            )
        if name in ("output_dir", "overwrite") or name not in DEFAULTS:
            raise InputError(
                f"grid: {name!r} is not a setting that can vary; --help lists them "
                "(all but output_dir and overwrite)"
            )
        if name in grid:
            raise InputError(f"grid: {name} is there twice; give it one list")
        grid[name] = _values(name, values)
    if math.prod(map(len, grid.values())) > _MOST_RUNS:
        raise InputError(f"grid: more than {_MOST_RUNS} runs; split it into sweeps")
    return grid


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns the grid's points in the order of their runs.

    The first setting varies slowest, but `seed` slower than all, so that whatever is
    finished early holds every combination of the others equally often.

    Args:
        grid: Values of each setting.

    Example:
        >>> grid_points({"beta": [0.1, 1.0], "seed": [0, 1]})[1]
        {'beta': 1.0, 'seed': 0}
    """
    names = sorted(grid, key=lambda name: name != "seed")
    points = itertools.product(*(grid[name] for name in names))
    rows = (dict(zip(names, point, strict=True)) for point in points)
    return [{name: row[name] for name in grid} for row in rows]


def grid_text(grid: Mapping[str, Sequence[Any]]) -> str:
    """Writes a grid as `parse_grid` takes it, without ranges.

    Args:
        grid: Values of each setting.

    Example:
        >>> grid_text({"beta": [0.1, 1.0], "seed": [0, 1]})
        'beta=0.1,1;seed=0,1'
    """
    parts = (f"{name}={','.join(map(_text, values))}" for name, values in grid.items())
    return ";".join(parts)


def _values(name: str, text: str) -> list[Any]:
    values: dict[Any, None] = {}
    for item in map(str.strip, text.split(",")):
        try:
            new = _expand_item(name, item)
        except ValueError:
            new = []
        if not new:
            raise InputError(
                f"grid: {name} cannot be {item!r}; expected values as "
                f"{_text(DEFAULTS[name])!r} or a range as 0:8, separated by commas"
            )
        for value in new:
            if value in values:
                raise InputError(f"grid: {name} has {_text(value)} twice; give it once")
            values[value] = None
    return list(values)


def _expand_item(name: str, item: str) -> list[Any]:
    """Returns the values of one item of a list: of a range several."""
    like = DEFAULTS[name]
    ends = re.fullmatch(r"([+-]?\d+):([+-]?\d+)", item)
    if ends and type(like) in (int, float):
        whole = range(int(ends[1]), int(ends[2]))[: _MOST_RUNS + 1]
        return [type(like)(value) for value in whole]
    text = item.replace("x", ",") if isinstance(like, tuple) else item
    return [parse_setting(name, text)] if item else []


def _text(value: Any) -> str:
    """Writes a value shortly, and different values differently."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _folder(values: Mapping[str, str]) -> str:
    """Names a point's folder; a hash stands for what a file system may not take."""
    name = ",".join(f"{setting}={value}" for setting, value in values.items())
    safe = _UNSAFE.sub("_", name)
    if safe == name and len(name) <= _LONGEST_NAME:
        return name
    return f"{safe[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def plan_runs(
    grid: Mapping[str, Sequence[Any]], configure: Callable[..., ExperimentConfig]
) -> list[Run]:
    """Returns the runs of a grid, pending, each in a folder below output_dir.

    Args:
        grid: Values of each setting.
        configure: As `sweep` takes it.

    Raises:
        InputError: The settings of a point do not fit, or ask to overwrite.

    Example:
        >>> plan_runs({"beta": [0.1]}, ExperimentConfig)[0].config.output_dir
        'runs/run/beta=0.1'
    """
    runs = []
    for point in grid_points(grid):
        values = {name: _text(value) for name, value in point.items()}
        name = _folder(values)
        try:
            config = configure(**point)
        except InputError as error:
            raise InputError(f"grid point {name}: {error}") from None
        if config.overwrite:
            raise InputError(
                "a sweep removes no runs; drop overwrite, and remove the folder "
                "yourself or choose another output_dir"
            )
        output_dir = str(Path(config.output_dir) / name)
        runs.append(
            Run(name, values, dataclasses.replace(config, output_dir=output_dir))
        )
    return runs
