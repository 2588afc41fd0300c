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
from tf_decomp.sweep.launcher import Launcher, outcomes_of, stop_signals
from tf_decomp.sweep.shards import (
    alone,
    forget_tables,
    holding,
    join_tables,
    parse_shard,
)

_POLL_SECONDS = 0.2
# How often a job of several runs is asked which of them have finished.
_LOOK_SECONDS = 5.0
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
    runs_per_job: int = 1,
    shard: str = "",
) -> list[Run]:
    """Trains every point of a grid and returns the runs in the grid's order.

    A failed run does not end the sweep. A finished one costs no process. A run that
    another process holds, such as one that outlived a killed sweep, is waited for.
    SIGINT and SIGTERM end the runs, then raise SystemExit. Local runs train on the
    GPUs that CUDA_VISIBLE_DEVICES names, a job on one; without it on the CPU.

    Args:
        grid: As `parse_grid` takes it.
        configure: Makes a run's settings of the grid's values, which it takes by
            keyword; their output_dir is the sweep's folder.
        cluster: `local` or `slurm`.
        parallel: Jobs at once; 0: as many as GPUs, else cores, or 100 on Slurm. Local
            ones share the cores evenly.
        slurm: `name=value` of submitit's Slurm parameters, as `partition=long`.
        runs_per_job: How many runs a job trains one after another in one process,
            which starts once. A failed one does not stop those after it; those of a
            process that dies start again, each in a job of its own.
        shard: `i/n` trains the i-th of n parts of the grid, 0 <= i < n: i, i + n, ...
            Each part has a table of its own, as sweep-0003-of-0010.csv. They may run
            at once, also on machines that share the folder; sweep.csv is written when
            a part ends and the tables of all are there, or by the sweep without
            `shard`.

    Returns:
        The runs; with `shard` those of that part.

    Raises:
        InputError: A value is not usable, the folder holds another sweep or is in
            use, or submitit is missing.
        OSError: The folder cannot be written.

    Example:
        >>> settings = functools.partial(ExperimentConfig, output_dir="runs/sweep")
        >>> sweep("beta=0.1,1;seed=0:8", settings)
    """
    [runs] = sweeps(
        [(grid, configure)],
        cluster=cluster,
        parallel=parallel,
        slurm=slurm,
        runs_per_job=runs_per_job,
        shard=shard,
    )
    return runs


def sweeps(
    plans: Sequence[tuple[str, Callable[..., ExperimentConfig]]],
    *,
    cluster: str = "local",
    parallel: int = 0,
    slurm: Sequence[str] = (),
    runs_per_job: int = 1,
    shard: str = "",
) -> list[list[Run]]:
    """Trains several sweeps at once, each in its own folder; returns the runs of each.

    They share the slots, so that none is empty while a sweep of few runs ends.

    Args:
        plans: Of each sweep the grid and `configure`, as `sweep` takes them.
        cluster: As of `sweep`.
        parallel: Jobs at once, of all sweeps together.
        slurm: As of `sweep`.
        runs_per_job: As of `sweep`.
        shard: As of `sweep`, of each.

    Raises:
        InputError: As `sweep`, or two sweeps have one folder.
        OSError: A folder cannot be written.

    Example:
        >>> sweeps([("beta=1;seed=0:8", few), ("beta=0.1,5;seed=0:8", many)])
    """
    part = parse_shard(shard)
    if part and cluster == "slurm":
        raise InputError(
            f"shard={shard} trains in the job that it is started in; choose "
            "cluster=local, or cluster=slurm without shard"
        )
    grids = [parse_grid(grid) for grid, _ in plans]
    grown = [
        plan_runs(values, configure)
        for values, (_, configure) in zip(grids, plans, strict=True)
    ]
    each = [part.part_of(own) for own in grown] if part else grown
    runs = [run for own in each for run in own]
    launcher = Launcher(cluster, parallel, len(runs), slurm, runs_per_job)
    with contextlib.ExitStack() as locks:
        for values, own in zip(grids, each, strict=True):
            root = _root(own)
            lock = holding(root, part) if part else RunFiles(root).locked()
            locks.enter_context(lock)
            with alone(root):
                _check_sweep(root, values, own[0].config)
        launcher.check(runs[0])
        with stop_signals() as stopped:
            _work(each, launcher, stopped, part.table if part else "sweep.csv")
        if not part:
            for own in each:
                forget_tables(_root(own))
        if stopped:
            print("stopped; the same command continues", file=sys.stderr, flush=True)
            raise SystemExit(128 + stopped[0])
        if part:
            for own in grown:
                with alone(_root(own)):
                    join_tables(_root(own), part, own)
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


@dataclasses.dataclass(eq=False)
class _ActiveJob:
    """Runs under way; without a job, one that is waited for.

    Attributes:
        runs: What the job trains, in this order.
        job: As the launcher gives it; None where another process is at the run.
        until: When results that shall be there are given up.
        since: When the last of the runs ended, or the job began.
        looked: When it was last looked which of the runs have finished.
    """

    runs: list[Run]
    job: Any = None
    until: float | None = None
    since: float = dataclasses.field(default_factory=time.monotonic)
    looked: float = dataclasses.field(default_factory=time.monotonic)

    def pending(self) -> list[Run]:
        return [run for run in self.runs if run.status == "pending"]

    def ended(self) -> bool:
        return self.job.done() if self.job else not _is_locked(self.runs[0])


_Waiting = collections.deque[list[Run]]


def _work(
    each: list[list[Run]], launcher: Launcher, stopped: list[int], table: str
) -> None:
    """Keeps the slots filled until every run of all sweeps has ended."""
    runs = [run for own in each for run in own]
    left, size = [run for run in runs if not _take_results(run)], launcher.runs_per_job
    waiting = _Waiting(left[k : k + size] for k in range(0, len(left), size))
    active: list[_ActiveJob] = []
    took: list[float] = []
    _write_tables(each, table)
    _report(runs, took, launcher)
    try:
        while (waiting or active) and not stopped:
            while waiting and len(active) < launcher.slots:
                active += _begin(waiting.popleft(), launcher)
            for one in list(active):
                before = len(one.pending())
                if one.ended():
                    active.remove(one)
                    active += _settle(one, waiting)
                else:
                    _look(one)
                ended, now = before - len(one.pending()), time.monotonic()
                if ended:
                    took += [(now - one.since) / ended] * ended
                    one.since = now
                    _write_tables(each, table)
                    _report(runs, took, launcher)
            time.sleep(_POLL_SECONDS)
    finally:
        launcher.end([one.job for one in active if one.job])


def _begin(runs: list[Run], launcher: Launcher) -> list[_ActiveJob]:
    """Starts a job of those runs that no other process is at."""
    held = [run for run in runs if _is_locked(run)]
    for run in held:
        print(f"{run.name}: another process is at it; waiting", flush=True)
    free = [run for run in runs if run not in held]
    started = [_ActiveJob(free, launcher.start(free))] if free else []
    return [*started, *(_ActiveJob([run]) for run in held)]


def _look(one: _ActiveJob) -> None:
    """Takes over what runs of a job have finished, while it trains the next."""
    if len(one.runs) > 1 and time.monotonic() - one.looked > _LOOK_SECONDS:
        for run in one.pending():
            _take_results(run)
        one.looked = time.monotonic()


def _settle(one: _ActiveJob, waiting: _Waiting) -> list[_ActiveJob]:
    """Judges runs that ended by their files; returns those that are not over yet."""
    if not one.job:
        return _settle_waited(one, waiting)
    again = []
    outcomes = outcomes_of(one.job, len(one.runs))
    for run, outcome in zip(one.runs, outcomes, strict=True):
        if run.status == "finished" or _take_results(run):
            continue
        if _is_locked(run):
            again.append(_ActiveJob([run]))
        elif not outcome.error:
            again.append(_ActiveJob([run], until=time.monotonic() + _LATE_SECONDS))
        elif outcome.seconds is None and len(one.runs) > 1:
            print(f"{run.name}: its job died; it starts again, alone", flush=True)
            waiting.append([run])
        else:
            run.status, run.error = "failed", outcome.error
            run.seconds = outcome.seconds or time.monotonic() - one.since
    return again


def _settle_waited(one: _ActiveJob, waiting: _Waiting) -> list[_ActiveJob]:
    [run] = one.runs
    if _take_results(run):
        return []
    if one.until is None:
        waiting.appendleft([run])
    elif time.monotonic() < one.until:
        return [one]
    else:
        run.status, run.error = "failed", "ended without metrics.json"
    return []


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


def _write_tables(each: Sequence[Sequence[Run]], table: str) -> None:
    for own in each:
        write_table(_root(own) / table, own)


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


def _report(runs: Sequence[Run], took: Sequence[float], launcher: Launcher) -> None:
    """Prints how far the sweep is, and guesses the rest from the runs so far."""
    status = collections.Counter(run.status for run in runs)
    line = f"{status['finished']} of {len(runs)} finished"
    line += f", {status['failed']} failed" if status["failed"] else ""
    if took and status["pending"]:
        left = sum(took) / len(took) * -(-status["pending"] // launcher.slots)
        line += f", {describe_left(left)}"
    print(line, flush=True)
