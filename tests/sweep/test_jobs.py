# SPDX-License-Identifier: Apache-2.0
"""Jobs of several runs: how runs are dealt out, fail, die and are judged; their GPU."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sweeps import (
    PretendedJob,
    pretend_finished,
    pretend_jobs,
    read_table,
    refuse,
    settings,
    status_of,
)

from tf_decomp import train
from tf_decomp.errors import InputError
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.sweep import launcher, parse_grid, plan_runs, runner, sweep
from tf_decomp.sweep.launcher import Launcher, Outcome


@pytest.fixture
def start(monkeypatch) -> Callable[..., list[PretendedJob]]:
    return functools.partial(pretend_jobs, monkeypatch)


def names_of(jobs: Sequence[PretendedJob]) -> list[list[str]]:
    return [[run.name for run in job.runs] for job in jobs]


def test_runs_are_dealt_out_in_order(tmp_path, start):
    jobs = start(PretendedJob)
    runs = sweep("seed=0:5", settings(tmp_path), parallel=2, runs_per_job=2)
    assert names_of(jobs) == [["seed=0", "seed=1"], ["seed=2", "seed=3"], ["seed=4"]]
    assert [run.status for run in runs] == ["finished"] * 5
    assert set(status_of(tmp_path).values()) == {"finished"}


def test_finished_runs_take_no_place_in_a_job(tmp_path, start):
    for run in plan_runs(parse_grid("seed=1"), settings(tmp_path)):
        pretend_finished(run)
    jobs = start(PretendedJob)
    sweep("seed=0:3", settings(tmp_path), runs_per_job=2)
    assert names_of(jobs) == [["seed=0", "seed=2"]]


def test_slots_and_threads_are_those_of_jobs(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    one, several = Launcher("local", 0, 8, ()), Launcher("local", 0, 8, (), 4)
    assert (one.slots, one.threads) == (8, 1)
    assert (several.slots, several.threads) == (2, 4)


class Failing(PretendedJob):
    """Finishes all runs but the first, which failed after 1.5 s."""

    def done(self) -> bool:
        self.asked += 1
        if self.asked == 2:
            for run in self.runs[1:]:
                pretend_finished(run)
        return self.asked >= 2

    def result(self) -> list[Outcome]:
        return [Outcome("no data", 1.5), *[Outcome("", 1.0)] * (len(self.runs) - 1)]


def test_a_failed_run_does_not_stop_the_others_of_its_job(tmp_path, start, capsys):
    jobs = start(Failing)
    first, *others = sweep("seed=0:3", settings(tmp_path), runs_per_job=3)
    assert len(jobs) == 1
    assert (first.status, first.error, first.seconds) == ("failed", "no data", 1.5)
    assert [run.status for run in others] == ["finished"] * 2
    assert read_table(tmp_path)[0]["error"] == "no data"
    assert capsys.readouterr().err == "seed=0: no data\n"


class Dying(PretendedJob):
    """Its process dies at seed=1, also when that is alone."""

    def done(self) -> bool:
        self.asked += 1
        if self.asked == 2:
            names = [*(run.name for run in self.runs), "seed=1"]
            for run in self.runs[: names.index("seed=1")]:
                pretend_finished(run)
        return self.asked >= 2

    def exception(self) -> Exception | None:
        died = any(run.name == "seed=1" for run in self.runs)
        return MemoryError("killed") if died else None

    @property
    def paths(self) -> "Dying":
        return self

    stdout = Path("log.out")


def test_runs_of_a_job_that_dies_start_again_alone(tmp_path, start, capsys):
    jobs = start(Dying)
    runs = sweep("seed=0:4", settings(tmp_path), parallel=1, runs_per_job=3)
    assert names_of(jobs) == [
        ["seed=0", "seed=1", "seed=2"], ["seed=3"], ["seed=1"], ["seed=2"]
    ]  # fmt: skip
    assert [run.status for run in runs] == [
        "finished", "failed", "finished", "finished"
    ]  # fmt: skip
    assert "died without a result (MemoryError); see log.out" in runs[1].error
    out = capsys.readouterr().out
    assert "seed=1: its job died; it starts again, alone\n" in out
    assert "seed=0: its job died" not in out


class Slow(PretendedJob):
    """Finishes a run at every question."""

    def done(self) -> bool:
        if self.asked < len(self.runs):
            pretend_finished(self.runs[self.asked])
        self.asked += 1
        return self.asked > len(self.runs)


def test_the_table_tells_of_runs_while_their_job_goes_on(tmp_path, start, monkeypatch):
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0)
    tables: list[list[str]] = []
    write = runner._write_tables

    def noted(each, table):
        write(each, table)
        tables.append(list(status_of(tmp_path).values()))

    monkeypatch.setattr(runner, "_write_tables", noted)
    start(Slow)
    sweep("seed=0:3", settings(tmp_path), runs_per_job=3)
    assert [statuses.count("finished") for statuses in tables] == [0, 1, 2, 3]


def test_a_held_run_is_left_out_of_its_job(tmp_path, start, monkeypatch):
    held = ["seed=1"]

    class Releasing(PretendedJob):
        def done(self) -> bool:
            if super().done() and held:
                [run] = plan_runs(parse_grid("seed=1"), settings(tmp_path))
                pretend_finished(run)
                held.clear()
            return self.asked >= 2

    jobs = start(Releasing)
    monkeypatch.setattr(runner, "_is_locked", lambda run: run.name in held)
    runs = sweep("seed=0:3", settings(tmp_path), runs_per_job=3)
    assert names_of(jobs) == [["seed=0", "seed=2"]]
    assert [run.status for run in runs] == ["finished"] * 3


@pytest.mark.parametrize(("value", "named"), [(0, "0"), (-2, "-2"), (1.5, "1.5")])
def test_bad_numbers_of_runs_are_one_line(value, named, tmp_path):
    message = refuse("seed=0", settings(tmp_path / "out"), runs_per_job=value)
    assert "runs_per_job must be a whole number >= 1" in message
    assert message.endswith(named)
    assert not (tmp_path / "out").exists()


def test_each_run_of_a_process_says_how_it_ended(monkeypatch, capsys, tmp_path):
    seen = []

    def fake(config):
        seen.append(config.seed)
        if config.seed == 1:
            raise InputError("first line\nlast line")
        if config.seed == 2:
            raise KeyError("broken")

    monkeypatch.setattr(launcher, "train", fake)
    runs = plan_runs(parse_grid("seed=0:4"), settings(tmp_path))
    flags = [run.config.to_flags() for run in runs]
    outcomes = launcher._train(flags, local=False, gpu="")
    assert seen == [0, 1, 2, 3]
    errors = [outcome.error for outcome in outcomes]
    assert errors == ["", "last line", "KeyError: 'broken'", ""]
    assert "Traceback" in capsys.readouterr().err


class Submitted:
    """A submitit executor and its job, that keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple] = []
        self.over = False

    def submit(self, *arguments) -> "Submitted":
        self.given.append(arguments)
        job = Submitted()
        self.jobs = [*getattr(self, "jobs", []), job]
        return job

    def done(self) -> bool:
        return self.over


def test_local_jobs_share_the_gpus_that_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8932f937")
    executor = Submitted()
    monkeypatch.setattr(Launcher, "_executor", lambda *_: executor)
    runs = plan_runs(parse_grid("seed=0:8"), settings(tmp_path))
    starting = Launcher("local", 0, len(runs), ())
    assert starting.slots == 2
    for run in runs[:2]:
        starting.start([run])
    executor.jobs[1].over = True
    starting.start([runs[2]])
    gpus = [gpu for _, _, _, gpu in executor.given]
    assert gpus == ["3", "GPU-8932f937", "GPU-8932f937"]


@pytest.mark.parametrize("named", [None, "", "-1"])
def test_without_a_named_gpu_local_jobs_have_none(named, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    executor = Submitted()
    monkeypatch.setattr(Launcher, "_executor", lambda *_: executor)
    Launcher("local", 0, 1, ()).start(plan_runs({"seed": [0]}, settings(tmp_path)))
    assert executor.given[0][-1] == ""


# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
@pytest.mark.slow
def test_runs_of_one_process_equal_runs_alone(tmp_path):
    """Some fail; with the variables of a Slurm array around them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_JOB_ID", "17")
        patch.setenv("SLURM_ARRAY_JOB_ID", "17")
        patch.setenv("SLURM_ARRAY_TASK_ID", "3")
        missing = f"npz:{tmp_path}/none.npz"
        grid = f"dataset=pinwheel,{missing};beta=0.5,1"
        place = settings(tmp_path / "out", hidden=(4,), epochs=2)
        runs = sweep(grid, place, runs_per_job=4)
    good = [run for run in runs if run.values["dataset"] == "pinwheel"]
    assert [run.status for run in runs].count("failed") == 2
    assert all("none.npz" in run.error for run in runs if run not in good)
    [logs] = (tmp_path / "out" / ".submitit").iterdir()
    assert len(list(logs.glob("*_submitted.pkl"))) == 1
    run, alone = good[-1], tmp_path / "alone"  # the last that its process trained
    train(place(beta=1.0, output_dir=str(alone)))
    ours, theirs = RunFiles(run.config.output_dir), RunFiles(alone)
    assert ours.history.read_bytes() == theirs.history.read_bytes()
    assert json.loads(ours.metrics.read_text()) == json.loads(
        theirs.metrics.read_text()
    )
