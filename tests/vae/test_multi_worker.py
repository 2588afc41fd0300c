# SPDX-License-Identifier: Apache-2.0
"""Two processes on loopback: one run, killed once, ends as that of one process."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from processes import TIME_LIMIT, TRAIN, run_python, start_python, wait_until
from runs import saved_arrays

from tf_decomp import ExperimentConfig, InputError, load_encoder, train
from tf_decomp.experiment import strategies
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.strategies import make_strategy

# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

WORKER = Path(__file__).parents[1] / "digest_worker.py"
EPOCHS = 6
SAVED = 3  # The epoch that a killed run resumes from.
# Batches are uneven over two workers, and the last one of an epoch is smaller.
SETTINGS = {
    "vectors": (
        "--prior=normal_mixture --divergence=inclusive_kl --alpha=5 --beta=0.01 "
        f"--hidden=8 --batch_size=91 --epochs={EPOCHS}"
    ),
    "images": (
        "--prior=normal_learnt --divergence=dimensionwise_mmd --alpha=5 --beta=0.5 "
        "--batch_norm=true --posterior=laplace --likelihood=laplace --latent_dim=3 "
        f"--batch_size=21 --epochs={EPOCHS}"
    ),
}
IMAGES = (8, 8, 1)


class Pair(NamedTuple):
    """A run of two workers."""

    folder: Path
    settings: tuple[str, ...]
    data_shape: tuple[int, ...]
    num_tested: int

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.folder / "worker0")

    def logs(self) -> list[str]:
        return [(self.folder / f"log{index}").read_text() for index in range(2)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_pair(
    pair: Pair, *more: str, dies_at: int = 0, slurm: dict[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """Starts two workers; each has a folder of its own, as on two machines.

    Both kill themselves at the evaluation of this number, or never. Without variables
    of Slurm, TF_CONFIG names them.
    """
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        place = {"cluster": {"worker": workers}, "task": task}
        environment = {
            "PYTHONWARNINGS": "ignore",
            "TF_CONFIG": json.dumps(place),
            "DIES_AT": str(dies_at),
            **({**slurm, "SLURM_PROCID": str(index)} if slurm else {}),
        }
        command = [WORKER, *pair.settings, *more, "--strategy=multi_worker"]
        command += [f"--output_dir={pair.folder / f'worker{index}'}"]
        with (pair.folder / f"log{index}").open("w") as log:
            processes.append(
                start_python(*command, environment=environment, stdout=log, stderr=log)
            )
    return processes


def finish_pair(
    pair: Pair, processes: list[subprocess.Popen[str]], status: int = 0
) -> list[str]:
    """Waits for both; gives what each printed."""
    try:
        for process in processes:
            process.wait(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        pytest.fail(f"workers hang: {pair.logs()}")
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = pair.logs()
    assert [process.returncode for process in processes] == [status] * 2, logs
    return logs


def makes_folder(path: Path) -> bool:
    """Makes a folder, unless a file of that name is there just now."""
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    return path.is_dir()


def columns_of(files: RunFiles) -> dict[str, np.ndarray]:
    with files.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module", params=["images", "vectors"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Pair:
    """Two workers killed in training, resumed and ended."""
    folder, settings = tmp_path_factory.mktemp("pair"), SETTINGS[request.param].split()
    pair = Pair(folder, tuple(settings), (2,), 400)
    if request.param == "images":
        x = np.random.default_rng(0).uniform(size=(90, *IMAGES))
        np.savez(folder / "images.npz", x_train=x[:60], x_test=x[60:])
        settings.append(f"--dataset=npz:{folder / 'images.npz'}")
        pair = Pair(folder, tuple(settings), IMAGES, 30)
    killed = start_pair(pair, dies_at=SAVED + 1)
    finish_pair(pair, killed, -signal.SIGKILL)
    assert (pair.files.checkpoints / f"ckpt-{SAVED}.index").exists()
    assert not pair.files.metrics.exists()
    finish_pair(pair, start_pair(pair))
    return pair


def check_against_one_worker(pair: Pair, tmp_path: Path) -> None:
    """Adam with its moments: 30 steps, in which rounding has not grown yet."""
    train(
        ExperimentConfig.from_flags(
            "\n".join([*pair.settings, f"--output_dir={tmp_path}"])
        )
    )
    one = RunFiles(tmp_path)
    ours, theirs = saved_arrays(pair.files), saved_arrays(one)
    assert len(ours) > 15
    # Where a gradient is near zero, its rounding decides on the direction of a step.
    assert ours.keys() == theirs.keys()
    rows, expected_rows = columns_of(pair.files), columns_of(one)
    assert list(rows) == list(expected_rows)
    for name, expected in theirs.items():
        difference = np.linalg.norm(ours[name] - expected)
        assert difference <= 1e-4 * np.linalg.norm(expected) + 1e-5, name
    for name, column in expected_rows.items():
        np.testing.assert_allclose(rows[name], column, 1e-5, 1e-5, err_msg=name)
    metrics, expected_metrics = (
        json.loads(files.metrics.read_text()) for files in (pair.files, one)
    )
    assert metrics.keys() == expected_metrics.keys()
    for name, result in expected_metrics.items():
        assert metrics[name]["n"] == result["n"] == pair.num_tested
        assert metrics[name]["value"] == pytest.approx(result["value"], 1e-5)


def check_workers_against_each_other(pair: Pair) -> None:
    """Weights, moments, counters, means; each judged its own on the whole test set."""
    first, second = (log.splitlines() for log in pair.logs())
    said = [line for line in first if line.startswith(("state", "test/"))]
    states = [line for line in said if line.startswith("state")]
    # One at the validation of each epoch, one at the test set.
    assert len(states) == len(set(states)) == EPOCHS - SAVED + 1
    assert len([line for line in said if line.startswith("test/")]) == 5
    assert said == [line for line in second if line.startswith(("state", "test/"))]


def check_files(pair: Pair) -> None:
    """The first worker alone writes."""
    files = pair.files
    assert files.metrics.exists()
    assert not (pair.folder / "worker1").exists()
    assert list(columns_of(files)["epoch"]) == list(range(1, EPOCHS + 1))
    served = load_encoder(files.root / "saved_model")
    loc = served.encode(np.zeros([3, *pair.data_shape], "float32"))["loc"]
    assert np.isfinite(loc).all()
    assert len(loc) == 3


@pytest.mark.slow
def test_two_workers_killed_and_resumed(pair: Pair, tmp_path: Path) -> None:
    """One test, so that processes of pytest do not each make the pair."""
    check_against_one_worker(pair, tmp_path)
    check_workers_against_each_other(pair)
    check_files(pair)


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["vectors"], indirect=True)
def test_a_finished_and_a_refused_run_end_both_workers(pair: Pair) -> None:
    logs = finish_pair(pair, start_pair(pair))
    assert "nothing to do" in logs[0]
    assert "Error" not in "".join(logs)
    refused = finish_pair(pair, start_pair(pair, "--beta=3"), status=1)
    # What it is about to train, and why it does not.
    assert [log.count("\n") for log in refused] == [2, 2]
    assert "beta=0.01 is now 3.0" in refused[0]
    assert "the first worker stopped" in refused[1]


@pytest.mark.slow
def test_a_first_worker_that_cannot_write_ends_both(tmp_path: Path) -> None:
    """The other waits for it in a step, which its end aborts (20 s later)."""
    pair = Pair(tmp_path, tuple(SETTINGS["vectors"].split()), (2,), 400)
    processes, files = start_pair(pair, "--epochs=2000"), pair.files
    wait_until(files.history.exists, *processes)
    in_the_way = files.root / f".{processes[0].pid}-{files.history.name}"
    wait_until(lambda: makes_folder(in_the_way), *processes)
    try:
        assert processes[0].wait(timeout=TIME_LIMIT) == 1
        assert processes[1].wait(timeout=90) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = pair.logs()
    assert "history.csv" in logs[0].splitlines()[-1]
    assert "UnavailableError" in logs[1]


def forget_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SLURM") or name == "TF_CONFIG":
            monkeypatch.delenv(name)


STEP = {
    "SLURM_JOB_ID": "1042",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "n[1-2],o7",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURMD_NODENAME": "n2",
}


@pytest.mark.parametrize("rank", range(5))
def test_srun_names_the_workers(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_workers(monkeypatch)
    node = ["n1", "n1", "n2", "n2", "o7"][rank]
    step = {**STEP, "SLURM_PROCID": str(rank), "SLURMD_NODENAME": node}
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    resolver = strategies._resolve_workers()
    hosts = ["n1:26080", "n1:26081", "n2:26080", "n2:26081", "o7:26080"]
    assert resolver.cluster_spec().as_dict() == {"worker": hosts}
    assert (resolver.task_type, resolver.task_id) == ("worker", rank)
    assert resolver.num_accelerators() == {"GPU": 0}
    assert dict(os.environ) == before


def test_tf_config_wins_over_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_workers(monkeypatch)
    task = {"type": "worker", "index": 0}
    place = {"cluster": {"worker": ["a:1", "b:1"]}, "task": task}
    for name, value in {**STEP, "TF_CONFIG": json.dumps(place)}.items():
        monkeypatch.setenv(name, value)
    assert strategies._resolve_workers() is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SLURM_STEP_NUM_TASKS": None}, "SLURM_STEP_NUM_TASKS"),  # sbatch, no srun
        ({"SLURM_PROCID": None}, "SLURM_PROCID"),
        ({"SLURM_STEP_ID": None}, "SLURM_STEP_ID"),
        ({"SLURM_PROCID": "5"}, "start each worker by srun"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "5 were assigned"),
        ({"SLURM_STEP_NODELIST": "n[1-"}, "Invalid hostlist"),
        ({"SLURM_STEP_TASKS_PER_NODE": "x"}, "Invalid tasks-per-node"),
        ({"SLURM_JOB_ID": "x"}, "'x'"),
        ({"SLURMD_NODENAME": "o7"}, "task 3 on o7 in the place of n2"),
        (
            {
                "SLURM_STEP_NODELIST": "n[9-10]",
                "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_PROCID": "0",
                "SLURMD_NODENAME": "n9",
            },
            "task 0 on n9 in the place of n10",
        ),
    ],
)
def test_other_steps_of_slurm_are_refused(
    changes: dict[str, str | None], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_workers(monkeypatch)
    for name, value in {**STEP, **changes}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        make_strategy("multi_worker")
    assert named in str(caught.value)
    assert "TF_CONFIG" in str(caught.value)
    assert "\n" not in str(caught.value)


def is_free(port: int) -> bool:
    with socket.socket() as each:
        return each.connect_ex(("127.0.0.1", port)) != 0


def job_with_free_ports() -> int:
    """Returns a number of a job whose first step has two ports for itself."""
    for job in np.random.default_rng().permutation(500):
        first = strategies._PORTS[int(job)]
        if is_free(first) and is_free(first + 1):
            return int(job) * pow(strategies._STEPS, -1, 500) % 500
    pytest.fail("no two ports are free")


@pytest.mark.slow
def test_two_tasks_of_srun_train_one_run(tmp_path: Path) -> None:
    pair = Pair(tmp_path, (*SETTINGS["vectors"].split(), "--epochs=1"), (2,), 400)
    step = {
        **STEP,
        "SLURM_JOB_ID": str(job_with_free_ports()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURMD_NODENAME": "localhost",
        "TF_CONFIG": "",
    }
    finish_pair(pair, start_pair(pair, slurm=step))
    assert pair.files.metrics.exists()
    assert not (tmp_path / "worker1").exists()
    first, second = (log.splitlines() for log in pair.logs())
    said = [line for line in first if line.startswith(("state", "test/"))]
    assert said
    assert said == [line for line in second if line.startswith(("state", "test/"))]


@pytest.mark.slow
def test_a_taken_port_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = f"127.0.0.1:{taken.getsockname()[1]}"
        task = {"type": "worker", "index": 0}
        place = {"cluster": {"worker": [worker]}, "task": task}
        _, said = run_python(
            TRAIN,
            "--strategy=multi_worker",
            f"--output_dir={tmp_path / 'run'}",
            environment={"TF_CONFIG": json.dumps(place)},
            status=1,
        )
    assert "this worker can listen on its port" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_no_usable_tf_config(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_workers(monkeypatch)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    config = ExperimentConfig(strategy="multi_worker", output_dir=str(tmp_path / "run"))
    for refused in (
        lambda: make_strategy("multi_worker"),
        lambda: train(config),
    ):
        with pytest.raises(InputError, match="TF_CONFIG") as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
