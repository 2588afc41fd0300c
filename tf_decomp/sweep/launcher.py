# SPDX-License-Identifier: Apache-2.0
"""The processes of a sweep: how they start, end and say what went wrong."""

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError, NonFiniteLoss
from tf_decomp.experiment import train
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.sweep.grid import Run

CLUSTERS = ("local", "slurm")
_SLURM_JOBS = 100
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class Launcher:
    """Starts runs by submitit, and ends them.

    Args:
        cluster: One of CLUSTERS.
        parallel: Runs at once, 0 for the default.
        runs: How many there are in all.
        slurm: `name=value` of submitit's Slurm parameters.

    Raises:
        InputError: A value is not usable.

    Example:
        >>> Launcher("local", 0, 8, ()).slots
    """

    def __init__(
        self, cluster: str, parallel: int, runs: int, slurm: Sequence[str]
    ) -> None:
        if cluster not in CLUSTERS or parallel < 0:
            raise InputError(
                f"expected cluster {' or '.join(CLUSTERS)} and parallel >= 0; "
                f"received {cluster!r} and {parallel}"
            )
        if slurm and cluster != "slurm":
            raise InputError(
                f"slurm={','.join(slurm)} is for another cluster; choose cluster=slurm"
            )
        cores = len(os.sched_getaffinity(0))
        self.local = cluster == "local"
        self.slots = parallel or (cores if self.local else _SLURM_JOBS)
        self.slots = min(self.slots, runs)
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
        try:
            self._executor(_logs(run).parent)
        except ImportError as error:
            if error.name != "submitit":
                raise
            raise InputError(
                "a sweep needs submitit; pip install 'tf-decomp[sweep]'"
            ) from None
        except (RuntimeError, NameError, ValueError) as error:
            raise InputError(f"submitit: {' '.join(str(error).split())}") from None

    def start(self, run: Run) -> Any:
        """Starts a run; a key press of Ctrl-C is for the sweep, which ends it."""
        before = {name: os.environ.get(name) for name in _THREADS}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.environ.update({name: str(self.threads) for name in _THREADS})
        try:
            executor = self._executor(_logs(run))
            return executor.submit(_train, run.config.to_flags(), self.local)
        except RuntimeError as error:
            raise InputError(f"submitit: {' '.join(str(error).split())}") from None
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

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


def error_of(job: Any) -> str:
    """Returns one line on why an ended job failed, or nothing where it did not."""
    failure = job.exception()
    if failure is None:
        return str(job.result())
    kind = type(failure).__name__
    return f"its process died without a result ({kind}); see {job.paths.stdout}"


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


def _train(flags: str, local: bool) -> str:
    """Trains in a process of its own; returns the error's line, or nothing."""
    if local:
        # submitit ignores it, but the sweep ends its runs by it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        train(ExperimentConfig.from_flags(flags))
    except Exception as error:
        traceback.print_exc()
        last = (str(error).strip().splitlines() or [""])[-1]
        if isinstance(error, InputError | NonFiniteLoss | OSError):
            return last
        return f"{type(error).__name__}: {last}"
    return ""
