# SPDX-License-Identifier: Apache-2.0
"""Sweeps for tests: their settings, runs and jobs that are pretended, their tables."""

import csv
import functools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from processes import BIN, start_python
from runs import one_line

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.sweep import Run, sweep
from tf_decomp.sweep.launcher import Launcher, Outcome

METRICS = {"test/elbo": {"value": -1.5, "standard_error": 0.25, "n": 400}}


def read_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def status_of(folder: Path) -> dict[str, str]:
    return {row["run"]: row["status"] for row in read_table(folder)}


def settings(folder: Path, **values) -> Callable[..., ExperimentConfig]:
    return functools.partial(ExperimentConfig, output_dir=str(folder), **values)


def pretend_finished(run: Run, metrics=METRICS) -> None:
    files = RunFiles(run.config.output_dir)
    files.root.mkdir(parents=True)
    files.config.write_text(run.config.to_flags())
    files.metrics.write_text(json.dumps(metrics))
    files.environment.write_text(json.dumps({"seconds": 12.34}))


def refuse(*arguments, **keywords) -> str:
    with pytest.raises(InputError) as error:
        sweep(*arguments, **keywords)
    return one_line(error)


class PretendedJob:
    """A job that finishes its runs when it is asked for the second time."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.asked = list(runs), 0

    def done(self) -> bool:
        self.asked += 1
        if self.asked == 2:
            for run in self.runs:
                pretend_finished(run)
        return self.asked >= 2

    def exception(self) -> Exception | None:
        return None

    def result(self) -> list[Outcome]:
        return [Outcome("", 1.0)] * len(self.runs)


def pretend_jobs(
    patch: pytest.MonkeyPatch,
    kind: Callable[[Sequence[Run]], PretendedJob] = PretendedJob,
) -> list[PretendedJob]:
    """Has pretended jobs stand for processes; returns those that are started."""
    started: list[PretendedJob] = []

    def start(_: Launcher, runs: Sequence[Run]) -> PretendedJob:
        started.append(kind(runs))
        return started[-1]

    patch.setattr(Launcher, "start", start)
    return started


def start_sweep(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts bin/sweep.py with short runs, as a shell would."""
    short = (f"--output_dir={folder}", "--hidden=4")
    return start_python(BIN / "sweep.py", *short, *arguments, start_new_session=True)


def processes_of(folder: Path) -> list[int]:
    """Returns the processes that submitit started for the runs of a sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder / ".submitit") in text:
            found.append(int(path.parent.name))
    return found
