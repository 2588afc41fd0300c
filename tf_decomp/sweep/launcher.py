# SPDX-License-Identifier: Apache-2.0
"""The processes of a sweep: how they start, end and say what went wrong."""

import contextlib
import gc
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from tf_decomp.checks import check_packages, check_whole_number
from tf_decomp.errors import InputError, NonFiniteLoss
from tf_decomp.experiment import train
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.sweep.grid import Run

CLUSTERS = ("local", "slurm")
_SLURM_JOBS = 100
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class Outcome(NamedTuple):
    """What a job says of one of its runs.

    Attributes:
        error: Why it failed, one line; empty where it did not.
        seconds: What it took; None where the job's process died.
    """

    error: str
    seconds: float | None


class Launcher:
    """Starts jobs by submitit, each of one or several runs, and ends them.

    Args:
        cluster: One of CLUSTERS.
        parallel: Jobs at once, 0 for the default.
        runs: How many there are in all.
        slurm: `name=value` of submitit's Slurm parameters.
        runs_per_job: Runs that a job trains one after another.

    Raises:
        InputError: A value is not usable.

    Example:
        >>> Launcher("local", 0, 8, ()).slots
    """

    def __init__(
        self,
        cluster: str,
        parallel: int,
        runs: int,
        slurm: Sequence[str],
        runs_per_job: int = 1,
    ) -> None:
        if cluster not in CLUSTERS or parallel < 0:
            raise InputError(
                f"expected cluster {' or '.join(CLUSTERS)} and parallel >= 0; "
                f"received {cluster!r} and {parallel}"
            )
        runs_per_job = check_whole_number("runs_per_job", runs_per_job, 1)
        if slurm and cluster != "slurm":
            raise InputError(
                f"slurm={','.join(slurm)} is for another cluster; choose cluster=slurm"
            )
        cores = len(os.sched_getaffinity(0))
        self.local, self.runs_per_job = cluster == "local", runs_per_job
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "") if self.local else ""
        self._busy: dict[str, list[Any]] = {
            gpu: [] for gpu in named.split(",") if gpu not in ("", "-1")
        }
        most = (len(self._busy) or cores) if self.local else _SLURM_JOBS
        self.slots = min(parallel or most, -(-runs // runs_per_job))
        self.threads = max(1, cores // self.slots)
        self.parameters: dict[str, Any] = {"stderr_to_stdout": True}
        if self.local:
            self.parameters["timeout_min"] = 365 * 24 * 60  # submitit's own is 2
            return
        given = dict(_slurm_parameter(text) for text in slurm)
        self.threads = given.setdefault("slurm_cpus_per_task", 1)
        given.setdefault("slurm_timeout_min", 24 * 60)
        given["slurm_setup"] = [f"export {name}={self.threads}" for name in _THREADS]
        self.parameters |= given

    def check(self, run: Run) -> None:
        """Makes an executor for nothing, so that mistakes show before any run."""
        check_packages("a sweep", "sweep", "submitit")
        try:
            self._executor(_logs(run).parent)
        except (RuntimeError, NameError, ValueError) as error:
            raise InputError(f"submitit: {' '.join(str(error).split())}") from None

    def start(self, runs: Sequence[Run]) -> Any:
        """Starts a job; a key press of Ctrl-C is for the sweep, which ends it.

        Args:
            runs: What it trains; its logs are in the folder of the first.
        """
        flags, gpu = [run.config.to_flags() for run in runs], self._free_gpu()
        before = {name: os.environ.get(name) for name in _THREADS}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.environ.update({name: str(self.threads) for name in _THREADS})
        try:
            executor = self._executor(_logs(runs[0]))
            job = executor.submit(_train, flags, self.local, gpu)
        except RuntimeError as error:
            raise InputError(f"submitit: {' '.join(str(error).split())}") from None
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._busy.get(gpu, []).append(job)
        return job

    def _free_gpu(self) -> str:
        """Returns the GPU that the fewest jobs use, or nothing where there is none."""
        for gpu, jobs in self._busy.items():
            self._busy[gpu] = [job for job in jobs if not job.done()]
        return min(self._busy, key=lambda gpu: len(self._busy[gpu]), default="")

    def end(self, jobs: Sequence[Any]) -> None:
        """Ends jobs and waits until they are gone, at most half a minute."""
        for _ in range(60):
            alive = [job for job in jobs if not job.done()]
            for job in alive:
                if self.local:
                    # Its controller hands the signal on, once it has children.
                    os.kill(int(job.job_id), signal.SIGTERM)
                else:
                    job.cancel()
            if not (alive and self.local):
                return
            time.sleep(0.5)

    def _executor(self, folder: Path) -> Any:
        # Its own configuration of logging closes the streams of other handlers.
        os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
        import submitit  # noqa: PLC0415  (of an extra)

        cluster = "local" if self.local else "slurm"
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**self.parameters)
        return executor


def _logs(run: Run) -> Path:
    """Returns the folder of a run's logs and of submitit's files."""
    return Path(run.config.output_dir).parent / ".submitit" / run.name


def outcomes_of(job: Any, runs: int) -> list[Outcome]:
    """Returns what an ended job says of each of its runs.

    Args:
        job: As `Launcher.start` gives it.
        runs: How many it trained.
    """
    failure = job.exception()
    if failure is None:
        return job.result()
    kind = type(failure).__name__
    error = f"its process died without a result ({kind}); see {job.paths.stdout}"
    return [Outcome(error, None)] * runs


def _slurm_parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"slurm: expected name=value, as partition=long; got {text!r}")
    return f"slurm_{name}", int(value) if value.isdecimal() else value


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Returns a list that receives SIGINT and SIGTERM in place of what they did."""
    received: list[int] = []

    def receive(number: int, _: Any) -> None:
        received.append(number)

    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = [signal.signal(number, receive) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _train(each: Sequence[str], local: bool, gpu: str) -> list[Outcome]:
    """Trains one run after another in a process of its own."""
    if local:
        # submitit ignores it, but the sweep ends its runs by it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    return [_train_one(flags) for flags in each]


def _train_one(flags: str) -> Outcome:
    """Trains a run; what it has raised is in the log, and its line is returned."""
    start, line = time.monotonic(), ""
    try:
        train(ExperimentConfig.from_flags(flags))
    except Exception as error:
        traceback.print_exc()
        line = (str(error).strip().splitlines() or [""])[-1]
        if not isinstance(error, InputError | NonFiniteLoss | OSError):
            line = f"{type(error).__name__}: {line}"
    keras.backend.clear_session()  # the names of layers, and memory, are the next one's
    gc.collect()
    return Outcome(line, time.monotonic() - start)
