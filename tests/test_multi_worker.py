# SPDX-License-Identifier: Apache-2.0
"""Two processes of bin/train.py on loopback: one run, killed once, as on one worker."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from runs import TIME_LIMIT, TRAIN, saved_arrays

from tf_decomp import ExperimentConfig, InputError, load_encoder, train
from tf_decomp.run_files import RunFiles
from tf_decomp.strategies import make_strategy

# 5 steps of uneven batches an epoch.
SETTINGS = (
    "--prior=normal_mixture --divergence=inclusive_kl --alpha=5 --beta=0.01 "
    "--hidden=8 --epochs=6 --batch_size=91"
).split()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_pair(folder: Path, *settings: str) -> list[subprocess.Popen[str]]:
    """Starts two workers; each has a folder of its own, as on two machines."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        place = {"cluster": {"worker": workers}, "task": task}
        environment = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "TF_CONFIG": json.dumps(place),
        }
        command = [sys.executable, str(TRAIN), *SETTINGS, "--strategy=multi_worker"]
        command += [*settings, f"--output_dir={folder / f'worker{index}'}"]
        with (folder / f"log{index}").open("w") as log:
            processes.append(
                subprocess.Popen(
                    command, stdout=log, stderr=log, text=True, env=environment
                )
            )
    return processes


def finish_pair(
    folder: Path, processes: list[subprocess.Popen[str]], status: int = 0
) -> list[str]:
    """Waits for both; gives what each printed."""
    try:
        for process in processes:
            process.wait(timeout=TIME_LIMIT)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = [(folder / f"log{index}").read_text() for index in range(2)]
    assert [process.returncode for process in processes] == [status] * 2, logs
    return logs


def wait_for(event: Callable[[], bool], processes: list[subprocess.Popen[str]]) -> None:
    """Waits for an event while all processes run."""
    deadline = time.monotonic() + TIME_LIMIT
    while not event():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.002)


def makes_folder(path: Path) -> bool:
    """Makes a folder, unless a file of that name is there just now."""
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    return path.is_dir()


def kill_pair(files: RunFiles, processes: list[subprocess.Popen[str]]) -> None:
    """Kills both once there is a state to resume from."""
    wait_for((files.checkpoints / "ckpt-2.index").exists, processes)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()


def columns_of(files: RunFiles) -> dict[str, np.ndarray]:
    with files.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a pair was killed in training, resumed and ended."""
    folder = tmp_path_factory.mktemp("pair")
    kill_pair(RunFiles(folder / "worker0"), start_pair(folder))
    finish_pair(folder, start_pair(folder))
    return folder


def test_two_workers_end_as_one_that_was_left_alone(
    folder: Path, tmp_path: Path
) -> None:
    """Adam with its moments: 30 steps, in which rounding has not grown yet."""
    command = [sys.executable, str(TRAIN), *SETTINGS, f"--output_dir={tmp_path}"]
    subprocess.run(command, check=True, capture_output=True, timeout=TIME_LIMIT)
    one, pair = RunFiles(tmp_path), RunFiles(folder / "worker0")
    ours, theirs = saved_arrays(pair), saved_arrays(one)
    assert len(ours) > 15
    # Steps of 1e-3, whose direction is that of the sum of 91 gradients' rounding.
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, 1e-4, 1e-5, err_msg=name)
    rows, expected_rows = columns_of(pair), columns_of(one)
    assert list(rows) == list(expected_rows)
    for name, column in expected_rows.items():
        np.testing.assert_allclose(rows[name], column, 1e-5, 1e-5, err_msg=name)
    metrics, expected_metrics = (json.loads(f.metrics.read_text()) for f in (pair, one))
    assert metrics.keys() == expected_metrics.keys()
    for name, result in expected_metrics.items():
        assert metrics[name]["n"] == result["n"] == 400
        assert metrics[name]["value"] == pytest.approx(result["value"], 1e-5)


def test_workers_print_the_same_results(folder: Path) -> None:
    """Each judged its own weights on the whole test set."""
    first, second = (
        (folder / f"log{index}").read_text().splitlines() for index in range(2)
    )
    results = [line for line in first if line.startswith("test/")]
    assert len(results) == 5
    assert results == [line for line in second if line.startswith("test/")]


def test_the_first_worker_alone_writes(folder: Path) -> None:
    files = RunFiles(folder / "worker0")
    assert files.metrics.exists()
    assert not (folder / "worker1").exists()
    assert list(columns_of(files)["epoch"]) == [1, 2, 3, 4, 5, 6]
    served = load_encoder(files.root / "saved_model")
    assert served.encode(np.zeros([3, 2], "float32"))["loc"].shape == [3, 2]


@pytest.mark.slow
def test_a_finished_and_a_refused_run_end_both_workers(folder: Path) -> None:
    logs = finish_pair(folder, start_pair(folder))
    assert "nothing to do" in logs[0]
    assert "Error" not in "".join(logs)
    refused = finish_pair(folder, start_pair(folder, "--beta=3"), status=1)
    assert [log.count("\n") for log in refused] == [1, 1]
    assert "--beta=0.01 is now 3.0" in refused[0]
    assert "the first worker stopped" in refused[1]


@pytest.mark.slow
def test_a_first_worker_that_cannot_write_ends_both(tmp_path: Path) -> None:
    """The other waits for it in a step, which its end aborts (20 s later)."""
    processes = start_pair(tmp_path, "--epochs=2000")
    files = RunFiles(tmp_path / "worker0")
    wait_for(files.history.exists, processes)
    in_the_way = files.root / f".{processes[0].pid}-{files.history.name}"
    wait_for(lambda: makes_folder(in_the_way), processes)
    try:
        assert processes[0].wait(timeout=TIME_LIMIT) == 1
        assert processes[1].wait(timeout=90) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = [(tmp_path / f"log{index}").read_text() for index in range(2)]
    assert "history.csv" in logs[0].splitlines()[-1]
    assert "UnavailableError" in logs[1]


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
    monkeypatch.delenv("TF_CONFIG", raising=False)
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
