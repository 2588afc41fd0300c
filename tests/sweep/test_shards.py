# SPDX-License-Identifier: Apache-2.0
"""Sweeps in parts: which runs a part has, its table, joining, and parts at once."""

import fcntl
import itertools
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import finish, start_python
from sweeps import (
    METRICS,
    PretendedJob,
    pretend_finished,
    pretend_jobs,
    read_table,
    refuse,
    settings,
    status_of,
)

from tf_decomp.errors import InputError
from tf_decomp.sweep import Run, parse_grid, plan_runs, shards, sweep
from tf_decomp.sweep.launcher import Launcher, Outcome
from tf_decomp.sweep.shards import Shard, alone, holding, join_tables, parse_shard

GRID = "beta=1,2;seed=0:3"


@pytest.fixture
def jobs(monkeypatch) -> list[PretendedJob]:
    return pretend_jobs(monkeypatch)


def planned(folder: Path, grid: str = GRID) -> list[Run]:
    return plan_runs(parse_grid(grid), settings(folder))


def tables(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("sweep*.csv"))


# -- their texts and runs -----------------------------------------------------------


def test_parts_are_counted_from_nought():
    assert parse_shard("0/1") == (0, 1)
    assert parse_shard(" 3 / 10 ") == Shard(3, 10)
    assert parse_shard("007/008") == (7, 8)
    assert parse_shard("") is None


@pytest.mark.parametrize(
    "text",
    ["3", "/10", "3/", "10/10", "-1/10", "1/0", "0/0", "1.5/3", "a/b", "1/2/3", " ",
     "1\n/2/", "٣/١٠", "1/99999999999", 3, None, ("3", "10")],
)  # fmt: skip
def test_other_texts_are_refused_in_one_line(text, tmp_path):
    message = refuse(GRID, settings(tmp_path / "out"), shard=text)
    assert "0 <= i < n" in message
    assert repr(text) in message
    assert not (tmp_path / "out").exists()


@given(runs=st.integers(1, 60), parts=st.integers(1, 60))
def test_parts_hold_every_run_once_and_evenly(runs, parts):
    if parts > runs:
        with pytest.raises(InputError, match="use fewer parts"):
            Shard(0, parts).part_of(range(runs))
        return
    cut = [Shard(k, parts).part_of(range(runs)) for k in range(parts)]
    assert sorted(itertools.chain(*cut)) == list(range(runs))
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


def test_more_parts_than_runs_are_refused_by_every_part(tmp_path):
    for number in (0, 6):
        message = refuse(GRID, settings(tmp_path / "out"), shard=f"{number}/7")
        assert "7 of 6" in message
    assert not (tmp_path / "out").exists()


def test_a_part_that_submits_jobs_is_refused(tmp_path):
    message = refuse(GRID, settings(tmp_path), cluster="slurm", shard="0/2")
    assert "cluster=local" in message


# -- tables -------------------------------------------------------------------------


def test_the_last_part_joins_the_tables(tmp_path, jobs, capsys):
    own = settings(tmp_path)
    names = [run.name for run in planned(tmp_path)]
    for number in (2, 0):
        runs = sweep(GRID, own, shard=f"{number}/3", runs_per_job=2)
        assert [run.name for run in runs] == names[number::3]
    assert tables(tmp_path) == ["sweep-0000-of-0003.csv", "sweep-0002-of-0003.csv"]
    assert capsys.readouterr().out.endswith("2 of 2 finished\n")

    sweep(GRID, own, shard="1/3")
    assert list(status_of(tmp_path)) == names
    assert set(status_of(tmp_path).values()) == {"finished"}
    joined = (tmp_path / "sweep.csv").read_bytes()

    count = len(jobs)
    sweep(GRID, own)
    assert len(jobs) == count
    assert (tmp_path / "sweep.csv").read_bytes() == joined
    assert tables(tmp_path) == ["sweep.csv"]  # older ones would win over it


def test_a_sweep_without_parts_joins_unfinished_ones(tmp_path, jobs):
    own = settings(tmp_path)
    sweep(GRID, own, shard="0/2")
    trained = [run.name for job in jobs for run in job.runs]
    jobs.clear()
    sweep(GRID, own)
    assert set(status_of(tmp_path).values()) == {"finished"}
    again = [run.name for job in jobs for run in job.runs]
    assert sorted(trained + again) == sorted(run.name for run in planned(tmp_path))


def test_a_failed_run_is_told_in_the_joined_table(tmp_path, jobs, monkeypatch, capsys):
    class Failing(PretendedJob):
        def done(self) -> bool:
            return True

        def result(self) -> list[Outcome]:
            return [Outcome("no data, sorry", 2.0)]

    own = settings(tmp_path)
    sweep(GRID, own, shard="0/2")
    monkeypatch.setattr(Launcher, "start", lambda _, runs: Failing(runs))
    sweep(GRID, own, shard="1/2")
    rows = read_table(tmp_path)
    assert [row["status"] for row in rows] == ["finished", "failed"] * 3
    assert rows[1]["error"] == "no data, sorry"
    assert rows[0]["test/elbo"] == "-1.5"
    assert rows[1]["test/elbo"] == ""
    assert capsys.readouterr().err.count("no data, sorry") == 3


def test_metrics_of_all_parts_have_columns(tmp_path):
    other = {"test/kl": {"value": 2.0, "standard_error": 0.5, "n": 3}}
    runs = planned(tmp_path, "seed=0:2")
    for run, metrics in zip(runs, (METRICS, other), strict=True):
        pretend_finished(run, metrics)
    for number in (1, 0):
        sweep("seed=0:2", settings(tmp_path), shard=f"{number}/2")
    first, second = read_table(tmp_path)
    assert (first["test/elbo"], first["test/kl"]) == ("-1.5", "")
    assert (second["test/elbo"], second["test/kl"]) == ("", "2.0")


@pytest.mark.parametrize(
    "content",
    [b"", b"run,beta\n", b"\xff\xfe\0", b'run,a\n"beta=1,seed=0', b"x,y\n1,2"],
)
def test_a_damaged_table_of_another_part_is_named(content, tmp_path, jobs, capsys):
    own = settings(tmp_path)
    sweep(GRID, own, shard="0/2")
    table = tmp_path / "sweep-0000-of-0002.csv"
    whole = table.read_bytes()
    table.write_bytes(content)
    runs = sweep(GRID, own, shard="1/2")
    assert {run.status for run in runs} == {"finished"}
    said = capsys.readouterr().err
    assert str(table) in said
    assert said.count("\n") == 1
    assert "run shard 0/2 again" in said
    assert not (tmp_path / "sweep.csv").exists()
    sweep(GRID, own, shard="0/2")
    assert table.read_bytes() == whole
    assert set(status_of(tmp_path).values()) == {"finished"}


# -- at once ------------------------------------------------------------------------


def test_a_part_is_refused_twice_and_beside_a_whole_sweep(tmp_path, jobs):
    own = settings(tmp_path)
    with holding(tmp_path, Shard(0, 2)):
        assert "shard 0/2 is at work there" in refuse(GRID, own, shard="0/2")
        sweep(GRID, own, shard="1/2")
        assert "wait for it" in refuse(GRID, own)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a whole sweep is at work there" in refuse(GRID, own, shard="0/2")
    sweep(GRID, own, shard="0/2")


def test_another_sweep_in_the_folder_is_refused_to_parts(tmp_path, jobs):
    sweep(GRID, settings(tmp_path, epochs=3), shard="0/2")
    message = refuse(GRID, settings(tmp_path, epochs=4), shard="1/2")
    assert "epochs=3 is now 4" in message


def test_what_all_parts_write_is_waited_for_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_WAIT_SECONDS", 0.2)
    with alone(tmp_path), pytest.raises(InputError, match="another shard"):
        with alone(tmp_path):
            pass


def test_parts_that_end_together_leave_a_whole_table(tmp_path, jobs):
    """Threads in place of processes; each joins many times."""
    parts = 4
    for number in range(parts):
        sweep(GRID, settings(tmp_path), shard=f"{number}/{parts}")
    whole = (tmp_path / "sweep.csv").read_bytes()
    runs, seen = planned(tmp_path), []

    def join(number: int) -> None:
        for _ in range(20):
            with alone(tmp_path):
                join_tables(tmp_path, Shard(number, parts), runs)
                seen.append((tmp_path / "sweep.csv").read_bytes())

    threads = [threading.Thread(target=join, args=[k]) for k in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [whole] * (20 * parts)
    assert not list(tmp_path.glob(".*sweep.csv"))


PART = """
import functools, sys, tf_decomp
from tf_decomp.sweep import sweep
place = functools.partial(
    tf_decomp.ExperimentConfig, output_dir=sys.argv[1], hidden=(4,), epochs=2
)
sweep("seed=0:4", place, shard=sys.argv[2], runs_per_job=2, parallel=1)
"""


@pytest.mark.slow
def test_two_parts_train_at_once_in_one_folder(tmp_path):
    folder = tmp_path / "out[1]"
    parts = [start_python("-c", PART, folder, f"{k}/2") for k in range(2)]
    try:
        outputs = [finish(part) for part in parts]
    finally:
        for part in parts:
            part.kill()
    assert all(out.endswith("2 of 2 finished\n") for out, _ in outputs)
    assert status_of(folder) == {f"seed={seed}": "finished" for seed in range(4)}
    for row in read_table(folder):
        metrics = json.loads((folder / row["run"] / "metrics.json").read_text())
        assert float(row["test/elbo"]) == metrics["test/elbo"]["value"]
    assert len(list((folder / ".submitit").iterdir())) == 2
    joined = (folder / "sweep.csv").read_bytes()
    place = settings(folder, hidden=(4,), epochs=2)
    sweep("seed=0:4", place)
    assert (folder / "sweep.csv").read_bytes() == joined
