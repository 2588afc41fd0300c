# SPDX-License-Identifier: Apache-2.0
"""A sweep: keeps runs going, judges them by their files, and writes the table."""

import collections
import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.callbacks import describe_left
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import read_json, write_csv, write_json
from tf_decomp.sweep.grid import Run, grid_text, parse_grid, plan_runs
from tf_decomp.sweep.launcher import Launcher, error_of, stop_signals

_POLL_SECONDS = 0.2
# A network file system may show a file of another machine that late.
_LATE_SECONDS = 90.0
# Settings that say where a run happens, and one that would remove finished runs.
_PLACEMENT = ("output_dir", "strategy", "overwrite")


def sweep(
    grid: str,
    configure: Callable[..., ExperimentConfig] = ExperimentConfig,
    *,
    cluster: str = "local",
    parallel: int = 0,
    slurm: Sequence[str] = (),
) -> list[Run]:
    """Trains every point of a grid and returns the runs in the grid's order.

    A failed run does not end the sweep. A finished one costs no process. A run that
    another process holds, such as one that outlived a killed sweep, is waited for.
    SIGINT and SIGTERM end the runs, then raise SystemExit. Local runs train on the
    CPU.

    Args:
        grid: As `parse_grid` takes it.
        configure: Makes a run's settings of the grid's values, which it takes by
            keyword; their output_dir is the sweep's folder.
        cluster: `local` or `slurm`.
        parallel: Runs at once; 0: the number of cores, or 100 jobs on Slurm. Local
            runs share the cores evenly.
        slurm: `name=value` of submitit's Slurm parameters, as `partition=long`.

    Raises:
        InputError: A value is not usable, the folder holds another sweep or is in
            use, or submitit is missing.
        OSError: The folder cannot be written.

    Example:
        >>> settings = functools.partial(ExperimentConfig, output_dir="runs/sweep")
        >>> sweep("beta=0.1,1;seed=0:8", settings)
    """
    plan = grid, configure
    return sweeps([plan], cluster=cluster, parallel=parallel, slurm=slurm)[0]


def sweeps(
    plans: Sequence[tuple[str, Callable[..., ExperimentConfig]]],
    *,
    cluster: str = "local",
    parallel: int = 0,
    slurm: Sequence[str] = (),
) -> list[list[Run]]:
    """Trains several sweeps at once, each in its own folder; returns the runs of each.

    They share the slots, so that none is empty while a sweep of few runs ends.

    Args:
        plans: Of each sweep the grid and `configure`, as `sweep` takes them.
        cluster: As of `sweep`.
        parallel: Runs at once, of all sweeps together.
        slurm: As of `sweep`.

    Raises:
        InputError: As `sweep`, or two sweeps have one folder.
        OSError: A folder cannot be written.

    Example:
        >>> sweeps([("beta=1;seed=0:8", few), ("beta=0.1,5;seed=0:8", many)])
    """
    grids = [parse_grid(grid) for grid, _ in plans]
    each = [
        plan_runs(values, configure)
        for values, (_, configure) in zip(grids, plans, strict=True)
    ]
    runs = [run for own in each for run in own]
    launcher = Launcher(cluster, parallel, len(runs), slurm)
    with contextlib.ExitStack() as locks:
        for values, own in zip(grids, each, strict=True):
            locks.enter_context(RunFiles(_root(own)).locked())
            _check_sweep(_root(own), values, own[0].config)
        launcher.check(runs[0])
        with stop_signals() as stopped:
            _work(each, launcher, stopped)
        if stopped:
            print("stopped; the same command continues", file=sys.stderr, flush=True)
            raise SystemExit(128 + stopped[0])
    for run in runs:
        if run.status == "failed":
            print(f"{run.name}: {run.error}", file=sys.stderr, flush=True)
    return each


def _root(runs: Sequence[Run]) -> Path:
    return Path(runs[0].config.output_dir).parent


def _check_sweep(
    root: Path, grid: Mapping[str, Sequence[Any]], config: ExperimentConfig
) -> None:
    """Refuses a folder that holds something else, and writes sweep.json."""
    path = root / "sweep.json"
    settings = {
        k: v for k, v in config.to_texts().items() if k not in (*grid, *_PLACEMENT)
    }
    text = grid_text(grid)
    if not path.exists():
        if RunFiles(root).existing():
            raise InputError(f"{root}: holds a run; choose another output_dir")
        write_json(path, {"grid": text, "settings": settings})
        return
    try:
        earlier = read_json(path)
        old_text, old = earlier["grid"], dict(earlier["settings"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: expected a sweep's settings; received a damaged or another file; "
            "put it back or remove it (its runs keep settings of their own), or choose "
            "another output_dir"
        ) from None
    changes = [f"grid={old_text} is now {text}"] if text != old_text else []
    changes += [
        f"{k}={old[k]} is now {v}" for k, v in settings.items() if old.get(k, v) != v
    ]
    if changes:
        raise InputError(
            f"{root}: holds another sweep ({', '.join(changes)}); use its settings or "
            "another output_dir"
        )


@dataclasses.dataclass
class _ActiveRun:
    """A run under way; without a job, another process is at it."""

    run: Run
    job: Any
    start: float = dataclasses.field(default_factory=time.monotonic)
    end: float | None = None

    def ended(self) -> bool:
        return self.job.done() if self.job else not _is_locked(self.run)


def _work(each: list[list[Run]], launcher: Launcher, stopped: list[int]) -> None:
    """Keeps the slots filled until every run of all sweeps has ended."""
    runs = [run for own in each for run in own]
    waiting = collections.deque(run for run in runs if not _take_results(run))
    active: list[_ActiveRun] = []
    took: list[float] = []
    _write_tables(each)
    _report(runs, took, launcher.slots)
    try:
        while (waiting or active) and not stopped:
            while waiting and len(active) < launcher.slots:
                active.append(_begin(waiting.popleft(), launcher))
            for one in [one for one in active if one.ended()]:
                active.remove(one)
                again = _settle(one)
                if again:
                    active.append(again)
                elif one.run.status == "pending":
                    waiting.appendleft(one.run)
                else:
                    took.append(time.monotonic() - one.start)
                    _write_tables(each)
                    _report(runs, took, launcher.slots)
            time.sleep(_POLL_SECONDS)
    finally:
        launcher.end([one.job for one in active if one.job])


def _begin(run: Run, launcher: Launcher) -> _ActiveRun:
    if _is_locked(run):
        print(f"{run.name}: another process is at it; waiting", flush=True)
        return _ActiveRun(run, None)
    return _ActiveRun(run, launcher.start(run))


def _settle(one: _ActiveRun) -> _ActiveRun | None:
    """Judges a run that ended by its files; returns it where it is not over yet."""
    run = one.run
    if _take_results(run) or not one.job:
        return None
    if _is_locked(run):
        return _ActiveRun(run, None)
    error, now = error_of(one.job), time.monotonic()
    one.end = one.end or now
    if not error and now - one.end < _LATE_SECONDS:
        return one
    run.status, run.seconds = "failed", one.end - one.start
    run.error = error or "ended without metrics.json"
    return None


def _take_results(run: Run) -> bool:
    """Whether the folder holds this run, finished; then takes over its numbers."""
    files = RunFiles(run.config.output_dir)
    try:
        earlier, metrics = files.read_config(), files.read_metrics()
    except (OSError, ValueError):
        return False
    here = {name: getattr(run.config, name) for name in _PLACEMENT}
    if dataclasses.replace(earlier, **here) != run.config:
        return False
    run.status, run.metrics = "finished", metrics
    with contextlib.suppress(OSError, ValueError):
        run.seconds = read_json(files.environment).get("seconds")
    return True


def _is_locked(run: Run) -> bool:
    """Whether a process is at the run; one that still starts up shows later."""
    files = RunFiles(run.config.output_dir)
    try:
        if (files.root / ".lock").exists():
            with files.locked():
                pass
    except InputError:
        return True
    except OSError:
        pass  # the run itself will say so
    return False


def _write_tables(each: Sequence[Sequence[Run]]) -> None:
    for own in each:
        write_table(_root(own) / "sweep.csv", own)


def write_table(path: Path, runs: Sequence[Run]) -> None:
    """Writes one row a run: its settings, its state and its metrics.

    Args:
        path: The table, a csv file.
        runs: Runs of one grid.

    Example:
        >>> write_table(Path("sweep.csv"), sweep("seed=0:3"))
    """
    endings = {"value": "", "standard_error": "_standard_error", "n": "_n"}
    columns = ["run", *runs[0].values, "status", "error", "seconds"]
    keys = dict.fromkeys(key for run in runs for key in run.metrics)
    columns += [key + ending for key in keys for ending in endings.values()]
    rows = []
    for run in runs:
        seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
        state = {"status": run.status, "error": run.error, "seconds": seconds}
        numbers = {
            key + ending: result.get(part)
            for key, result in run.metrics.items()
            for part, ending in endings.items()
        }
        rows.append({"run": run.name, **run.values, **state, **numbers})
    write_csv(path, columns, rows)


def _report(runs: Sequence[Run], took: Sequence[float], slots: int) -> None:
    """Prints how far the sweep is, and guesses the rest from the runs so far."""
    status = collections.Counter(run.status for run in runs)
    line = f"{status['finished']} of {len(runs)} finished"
    line += f", {status['failed']} failed" if status["failed"] else ""
    if took and status["pending"]:
        left = sum(took) / len(took) * -(-status["pending"] // slots)
        line += f", {describe_left(left)}"
    print(line, flush=True)
