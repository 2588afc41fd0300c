# SPDX-License-Identifier: Apache-2.0
"""Sweeps: grids, order, the table, refusals, and real runs that fail and are killed."""

import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import finish, wait_until
from sweeps import (
    METRICS,
    PretendedJob,
    pretend_finished,
    processes_of,
    read_table,
    refuse,
    settings,
    start_sweep,
    status_of,
)

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.sweep import (
    Run,
    grid_points,
    parse_grid,
    plan_runs,
    sweep,
    sweeps,
    write_table,
)
from tf_decomp.sweep.launcher import Launcher
from tf_decomp.sweep.runner import _take_results

# -- the grid -----------------------------------------------------------------------


def test_lists_and_ranges():
    assert parse_grid("beta=0.1,1,5;seed=0:8") == {
        "beta": [0.1, 1.0, 5.0],
        "seed": [0, 1, 2, 3, 4, 5, 6, 7],
    }
    assert parse_grid(" beta = 1:3 , 0.5 ") == {"beta": [1.0, 2.0, 0.5]}
    assert parse_grid("hidden=100,50x20;batch_norm=true,false") == {
        "hidden": [(100,), (50, 20)],
        "batch_norm": [True, False],
    }
    assert parse_grid("dataset=pinwheel,npz:a.npz")["dataset"][1] == "npz:a.npz"
    assert type(parse_grid("alpha=3:4")["alpha"][0]) is float


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ("", "setting=value"),
        ("beta", "'beta'"),
        ("beta=1;", "received ''"),
        ("=1", "setting=value"),
        ("betta=1", "'betta'"),
        ("output_dir=a,b", "output_dir"),
        ("overwrite=true", "overwrite"),
        ("beta=1;beta=2", "beta is there twice"),
        ("beta=1,1.0", "beta has 1 twice"),
        ("seed=0:3,2", "seed has 2 twice"),
        ("beta=", "''"),
        ("beta=1,,2", "''"),
        ("beta=big", "'big'"),
        ("seed=1.5", "'1.5'"),
        ("seed=3:3", "'3:3'"),
        ("seed=0:", "'0:'"),
        ("hidden=10x", "'10x'"),
        ("batch_norm=yes", "'yes'"),
        ("seed=0:2000000000", "10000"),
        ("seed=0:200;epochs=1:200", "more than 10000"),
    ],
)
def test_bad_grids_are_one_line(grid, named, tmp_path):
    assert named in refuse(grid, settings(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_seed_varies_slowest_wherever_it_stands():
    points = grid_points({"beta": [1, 2], "seed": [0, 1, 2], "df": [5, 7]})
    assert len(points) == 12
    assert all(list(point) == ["beta", "seed", "df"] for point in points)
    assert [tuple(point.values()) for point in points[:5]] == [
        (1, 0, 5), (1, 0, 7), (2, 0, 5), (2, 0, 7), (1, 1, 5)
    ]  # fmt: skip
    assert [point["seed"] for point in points] == [0] * 4 + [1] * 4 + [2] * 4


def test_without_seed_the_first_setting_varies_slowest():
    points = grid_points({"beta": [1, 2], "df": [5, 7]})
    expected = list(itertools.product([1, 2], [5, 7]))
    assert [tuple(point.values()) for point in points] == expected


def test_every_run_has_its_settings_and_folder(tmp_path):
    runs = plan_runs(parse_grid("beta=0.1,5;seed=3"), settings(tmp_path, epochs=7))
    assert [run.name for run in runs] == ["beta=0.1,seed=3", "beta=5,seed=3"]
    output_dir = str(tmp_path / "beta=0.1,seed=3")
    assert runs[0].config == ExperimentConfig(
        beta=0.1, seed=3, epochs=7, output_dir=output_dir
    )


def test_settings_may_need_the_grid_to_fit(tmp_path):
    needs = settings(tmp_path, alpha=5.0)  # not usable without a divergence
    runs = plan_runs(parse_grid("divergence=inclusive_kl,dimensionwise_mmd"), needs)
    assert len(runs) == 2


def test_folders_are_safe_and_differ(tmp_path):
    values = ["npz:/a b/c", "npz:/a/b/c", "npz:/a_b/c", "npz:" + "x" * 300, "é"]
    names = [
        run.name for run in plan_runs({"dataset": values}, settings(tmp_path, seed=1))
    ]
    assert len({name.lower() for name in names}) == len(values)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._+=,-]{1,140}", name)


def test_close_numbers_have_folders_of_their_own(tmp_path):
    values = [0.1, 0.100000000001, 1e-7]
    names = {run.name for run in plan_runs({"beta": values}, settings(tmp_path))}
    assert names == {"beta=0.1", "beta=0.100000000001", "beta=1e-07"}


# -- the table ----------------------------------------------------------------------


def test_table_has_one_row_a_point_and_every_metric(tmp_path):
    other = {"test/kl": {"value": None, "standard_error": 0.5, "n": 3}}
    runs = plan_runs(parse_grid("beta=1,2,3"), settings(tmp_path))
    runs[0].status, runs[0].seconds, runs[0].metrics = "finished", 2.25, METRICS
    runs[1].status, runs[1].error = "failed", 'no "x", sorry'
    runs[2].status, runs[2].metrics = "finished", other
    write_table(tmp_path / "sweep.csv", runs)
    assert (tmp_path / "sweep.csv").read_text().splitlines() == [
        "run,beta,status,error,seconds,test/elbo,test/elbo_standard_error,test/elbo_n,"
        "test/kl,test/kl_standard_error,test/kl_n",
        "beta=1,1,finished,,2.2,-1.5,0.25,400,,,",
        'beta=2,2,failed,"no ""x"", sorry",,,,,,,',
        "beta=3,3,finished,,,,,,,0.5,3",
    ]


def test_finished_runs_cost_no_process(tmp_path, capsys):
    for run in plan_runs(parse_grid("beta=1,2"), settings(tmp_path)):
        pretend_finished(run)
    runs = sweep("beta=1,2", settings(tmp_path))
    assert [run.status for run in runs] == ["finished"] * 2
    assert not list((tmp_path / ".submitit").iterdir())
    assert capsys.readouterr().out == "2 of 2 finished\n"
    assert read_table(tmp_path)[1] == {
        "run": "beta=2", "beta": "2", "status": "finished", "error": "",
        "seconds": "12.3", "test/elbo": "-1.5", "test/elbo_standard_error": "0.25",
        "test/elbo_n": "400",
    }  # fmt: skip


def test_a_run_that_another_process_holds_is_waited_for(tmp_path, capsys):
    [run] = plan_runs(parse_grid("beta=1"), settings(tmp_path))
    pretend_finished(run)
    files = RunFiles(run.config.output_dir)
    files.metrics.rename(tmp_path / "later")
    held = threading.Event()

    def hold() -> None:
        with files.locked():
            held.set()
            time.sleep(1)
            (tmp_path / "later").rename(files.metrics)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    [run] = sweep("beta=1", settings(tmp_path))
    holder.join()
    assert run.status == "finished"
    assert not list((tmp_path / ".submitit").iterdir())
    assert "another process" in capsys.readouterr().out


def test_several_sweeps_share_the_slots(tmp_path, monkeypatch, capsys):
    jobs: list[PretendedJob] = []
    at_once: list[int] = []

    def start(launcher: Launcher, runs: list[Run]) -> PretendedJob:
        jobs.append(PretendedJob(runs))
        at_once.append(sum(job.asked < 2 for job in jobs))
        return jobs[-1]

    monkeypatch.setattr(Launcher, "start", start)
    one, other = tmp_path / "one", tmp_path / "other"
    plans = [("beta=1", settings(one)), ("beta=1,2", settings(other))]
    each = sweeps(plans, parallel=2)
    assert [[run.status for run in own] for own in each] == [
        ["finished"], ["finished"] * 2
    ]  # fmt: skip
    assert max(at_once) == 2
    assert [Path(job.runs[0].config.output_dir).parent for job in jobs] == [
        one, other, other
    ]  # fmt: skip
    assert status_of(one) == {"beta=1": "finished"}
    assert status_of(other) == {"beta=1": "finished", "beta=2": "finished"}
    assert capsys.readouterr().out.endswith("3 of 3 finished\n")
    assert sweeps(plans) == each
    assert len(jobs) == 3


def test_a_cut_table_is_written_again(tmp_path):
    for run in plan_runs(parse_grid("beta=1,2"), settings(tmp_path)):
        pretend_finished(run)
    sweep("beta=1,2", settings(tmp_path))
    table = tmp_path / "sweep.csv"
    whole = table.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff\0"):
        table.write_bytes(content)
        sweep("beta=1,2", settings(tmp_path))
        assert table.read_bytes() == whole


@pytest.mark.parametrize("name", ["metrics.json", "config.flags"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_damaged_run_is_not_taken_for_a_finished_one(name, content, tmp_path):
    [run] = plan_runs(parse_grid("beta=1"), settings(tmp_path))
    pretend_finished(run)
    assert _take_results(run)
    (tmp_path / run.name / name).write_bytes(content)
    assert not _take_results(run)


# -- refusals -----------------------------------------------------------------------


def test_another_sweep_in_the_folder_is_refused_by_name(tmp_path):
    for run in plan_runs(parse_grid("beta=1"), settings(tmp_path, epochs=3)):
        pretend_finished(run)
    sweep("beta=1", settings(tmp_path, epochs=3))
    before = (tmp_path / "sweep.json").read_bytes()
    message = refuse("beta=1,2", settings(tmp_path, epochs=3, df=7))
    assert "grid=beta=1 is now beta=1,2" in message
    assert "df=5.0 is now 7.0" in message
    assert "epochs" not in message
    assert (tmp_path / "sweep.json").read_bytes() == before
    sweep("beta=1", settings(tmp_path, epochs=3, strategy="none"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"grid": "beta=1", "settings": 3}'])
def test_a_sweep_json_of_somebody_else_is_refused(text, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    assert "sweep.json" in refuse("beta=1", settings(tmp_path))
    assert (tmp_path / "sweep.json").read_text() == text


def test_the_folder_of_a_run_is_refused(tmp_path):
    (tmp_path / "config.flags").write_text("--beta=1\n")
    assert "holds a run" in refuse("beta=1", settings(tmp_path))
    assert not (tmp_path / "sweep.json").exists()


def test_two_sweeps_at_once_are_refused(tmp_path):
    with RunFiles(tmp_path).locked():
        assert "wait for it" in refuse("beta=1", settings(tmp_path))


def test_two_sweeps_of_one_folder_are_refused(tmp_path):
    plans = [("beta=1", settings(tmp_path)), ("beta=2", settings(tmp_path))]
    with pytest.raises(InputError, match="wait for it"):
        sweeps(plans)


def test_overwrite_is_refused(tmp_path):
    assert "drop overwrite" in refuse("beta=1", settings(tmp_path, overwrite=True))


def test_points_that_do_not_fit_are_named(tmp_path):
    message = refuse("beta=1,-1", settings(tmp_path / "out"))
    assert "beta=-1: beta must be >= 0" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"cluster": "cloud"}, "'cloud'"),
        ({"parallel": -1}, "-1"),
        ({"slurm": ["partition=long"]}, "cluster=slurm"),
        ({"cluster": "slurm", "slurm": ["partition"]}, "'partition'"),
        ({"cluster": "slurm", "slurm": ["partitoin=a"]}, "submitit: "),  # or no srun
    ],
)
def test_bad_places_are_one_line(keywords, named, tmp_path):
    assert named in refuse("beta=1", settings(tmp_path), **keywords)


def test_missing_submitit_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'tf-decomp[sweep]'" in refuse("beta=1", settings(tmp_path))


# -- real runs ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "out"
    for process in processes_of(tmp_path / "out"):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_a_killed_sweep_goes_on(folder):
    bad, first = "beta=1,seed=0", "beta=0.5,seed=0"
    (folder / bad).mkdir(parents=True)
    (folder / bad / "metrics.json").write_text("not a run's")
    arguments = ("--grid=beta=0.5,1;seed=0:2", "--epochs=2", "--parallel=2")

    sweeping = start_sweep(folder, *arguments)
    table = folder / "sweep.csv"
    wait_until(
        lambda: table.exists() and status_of(folder)[first] == "finished", sweeping
    )
    with sweeping:  # its runs still hold the pipes
        sweeping.kill()
    assert processes_of(folder), "no run was going any more"
    before = (folder / first / "metrics.json").stat().st_mtime_ns

    out, err = finish(start_sweep(folder, *arguments), status=1)
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{bad}: ")
    assert "is not a run's folder" in lines[0]
    assert out.splitlines()[-1] == "3 of 4 finished, 1 failed"
    rows = read_table(folder)
    assert [row["run"] for row in rows] == [
        first, bad, "beta=0.5,seed=1", "beta=1,seed=1"
    ]  # fmt: skip
    assert [row["status"] for row in rows] == [
        "finished", "failed", "finished", "finished"
    ]  # fmt: skip
    assert "is not a run's folder" in rows[1]["error"]
    for row in rows:
        if row["status"] == "finished":
            held = json.loads((folder / row["run"] / "metrics.json").read_text())
            assert float(row["test/elbo"]) == held["test/elbo"]["value"]
            assert float(row["seconds"]) > 0
    assert rows[0]["test/elbo"] != rows[2]["test/elbo"]
    assert (folder / first / "metrics.json").stat().st_mtime_ns == before
    assert len(list((folder / ".submitit" / first).glob("*_submitted.pkl"))) == 1


def test_a_run_that_another_process_takes_first_is_waited_for(folder, tmp_path):
    missing = settings(folder, dataset=f"npz:{tmp_path}/none.npz")  # so ours fails
    [run] = plan_runs(parse_grid("seed=0"), missing)
    files, logs = RunFiles(run.config.output_dir), folder / ".submitit" / run.name

    def take() -> None:
        while not list(logs.glob("*_submitted.pkl")):
            time.sleep(0.01)
        with files.locked():  # before ours, which first imports TensorFlow
            while processes_of(folder) or not list(logs.glob("*_result.pkl")):
                time.sleep(0.05)
            time.sleep(1)  # several of the sweep's looks at it
            files.config.write_text(run.config.to_flags())
            files.metrics.write_text(json.dumps(METRICS))

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    [run] = sweep("seed=0", missing)
    taker.join()
    assert (run.status, run.error) == ("finished", "")
    assert len(list(logs.glob("*_submitted.pkl"))) == 1


@pytest.mark.slow
def test_a_sweep_in_a_folder_with_brackets_mends_its_runs(tmp_path):
    folder = tmp_path / "sweep[1] *?"
    arguments = ("--grid=seed=0:2", "--epochs=2")
    finish(start_sweep(folder, *arguments))
    runs = [RunFiles(folder / f"seed={seed}") for seed in (0, 1)]
    before = [files.metrics.read_bytes() for files in runs]
    (runs[0].checkpoints / "ckpt-2.index").write_bytes(b"cut")
    runs[0].model.unlink()
    runs[1].metrics.write_text("{")
    finish(start_sweep(folder, *arguments))
    assert [files.metrics.read_bytes() for files in runs] == before
    assert [files.find_damage() for files in runs] == [None, None]
    assert set(status_of(folder).values()) == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_runs(number, folder):
    sweeping = start_sweep(
        folder, "--grid=seed=0:3", "--epochs=1000000", "--parallel=2"
    )
    runs = [RunFiles(folder / f"seed={seed}") for seed in (0, 1)]
    wait_until(lambda: all(files.checkpoints.exists() for files in runs), sweeping)
    assert len(processes_of(folder)) >= 4  # submitit has two for a run
    # A terminal sends Ctrl-C to the whole group, `kill` its signal to one process.
    (os.killpg if number == signal.SIGINT else os.kill)(sweeping.pid, number)
    _, err = finish(sweeping, 128 + number, 60)
    assert err == "stopped; the same command continues\n"
    assert not processes_of(folder)
    assert set(status_of(folder).values()) == {"pending"}
    for files in runs:
        with files.locked():
            assert not files.metrics.exists()


FAKE_SLURM = {
    # Runs a job at once, in a session of its own, whose leader is the job's number.
    "sbatch": """
import pathlib, subprocess, sys
if "refused" in pathlib.Path(sys.argv[-1]).read_text():
    sys.exit("sbatch: error: invalid partition specified: refused")
lines = 'export SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0'
lines += ' SLURM_PROCID=0 SLURM_LOCALID=0; exec bash ' + sys.argv[-1]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
job = subprocess.Popen(["bash", "-c", lines], start_new_session=True, **quiet)
print("Submitted batch job", job.pid)
""",
    "srun": """
import os, sys
command = sys.argv[next(i for i, a in enumerate(sys.argv) if "python" in a and i):]
os.execv(command[0], command)
""",
    "sacct": """
import os, sys
print("JobID|State|NodeList")
for job in sys.argv[sys.argv.index("-j") + 1 :: 2]:
    state = "RUNNING" if os.path.exists("/proc/" + job) else "COMPLETED"
    print(job + "|" + state + "|here")
""",
}


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name, program in FAKE_SLURM.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable}\n{program}")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_slurm_jobs_get_their_parameters_and_give_their_errors(
    folder, tmp_path, fake_slurm
):
    [run] = sweep(
        "seed=0",
        settings(folder, dataset=f"npz:{tmp_path}/none.npz"),
        cluster="slurm",
        slurm=["partition=long", "cpus_per_task=2"],
    )
    assert run.status == "failed"
    assert "none.npz" in run.error
    [script] = (folder / ".submitit" / "seed=0").glob("*_submission.sh")
    lines = script.read_text().splitlines()
    assert "#SBATCH --partition=long" in lines
    assert "#SBATCH --cpus-per-task=2" in lines
    assert "export TF_NUM_INTRAOP_THREADS=2" in lines


def test_what_slurm_refuses_is_one_line(folder, fake_slurm):
    place = {"cluster": "slurm", "slurm": ["partition=refused"]}
    assert "invalid partition" in refuse("seed=0", settings(folder), **place)
