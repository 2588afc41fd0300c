# SPDX-License-Identifier: Apache-2.0
"""Runs of bin/train.py killed with SIGKILL end as the run that was left alone."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from processes import TRAIN, finish, start_python, wait_until
from runs import saved_arrays

from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_text

# 5 steps of uneven batches an epoch, and a row for each epoch.
PINWHEEL = (
    "--prior=normal_mixture --divergence=inclusive_kl --alpha=5 --beta=0.01 "
    "--hidden=8 --epochs=12 --batch_size=90 --seed=3"
).split()


def start_run(folder: Path, settings: Sequence[str]) -> subprocess.Popen[str]:
    quiet = {"PYTHONWARNINGS": "ignore"}
    return start_python(TRAIN, *settings, f"--output_dir={folder}", environment=quiet)


GONE = 2**22 + 1  # no process has such a number


# -- when to kill: each is true from a moment on, or in a moment ---------------------


def newest_state(files: RunFiles) -> int:
    """Returns the epoch of the newest state; 0 where training has saved none."""
    try:
        text = (files.checkpoints / "checkpoint").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    found = re.search(r'^model_checkpoint_path: "ckpt-(\d+)"', text, re.MULTILINE)
    return int(found[1]) if found else 0


def at_start(files: RunFiles, before: int) -> bool:
    return files.config.exists()


def in_training(files: RunFiles, before: int) -> bool:
    """Whether this process has saved a state of its own."""
    return newest_state(files) > before


def in_checkpoint(files: RunFiles, before: int) -> bool:
    """Whether a state is half-written: its files are not yet named in `checkpoint`."""
    if not in_training(files, before):
        return False
    try:
        names = os.listdir(files.checkpoints)
        listed = (files.checkpoints / "checkpoint").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    states = {name.partition(".")[0] for name in names if name.startswith("ckpt-")}
    return any("-ckpt-" in name for name in names) or any(
        f'"{state}"' not in listed for state in states
    )


def in_model(files: RunFiles, before: int) -> bool:
    """Whether model.keras is being written or done."""
    return files.model.exists() or any(files.root.glob(".*.results/model.keras"))


def in_saved_model(files: RunFiles, before: int) -> bool:
    being_written = any(files.root.glob(".*.results/saved_model"))
    return being_written or files.saved_model.parent.exists()


def in_plots(files: RunFiles, before: int) -> bool:
    return files.plots.exists()


Reached = Callable[[RunFiles, int], bool]
Moment = tuple[Reached, float]


def kill(process: subprocess.Popen[str], files: RunFiles, moment: Moment) -> None:
    """Kills the process a delay of so many seconds behind a moment."""
    (reached, delay), before = moment, newest_state(files)
    wait_until(lambda: reached(files, before), process)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    finish(process, -signal.SIGKILL)  # else the moment came too late


def seeded(*moments: tuple[Reached, float]) -> list[Moment]:
    """Returns each moment a delay drawn from [0, its longest)."""
    rng = np.random.default_rng(0)
    return [(reached, longest * rng.uniform()) for reached, longest in moments]


# -- what must be equal -------------------------------------------------------------


def assert_same_run(got: RunFiles, expected: RunFiles) -> None:
    assert got.history.read_bytes() == expected.history.read_bytes()
    assert got.metrics.read_bytes() == expected.metrics.read_bytes()
    ours, theirs = saved_arrays(got), saved_arrays(expected)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 15
    for name, value in theirs.items():
        assert ours[name].tobytes() == value.tobytes(), name


def assert_no_strays(files: RunFiles, expected: RunFiles) -> None:
    """Fails where a killed process has left files that no whole run has."""
    found, wanted = (
        {str(p.relative_to(f.root)) for p in f.root.rglob("*") if p.parent != f.logs}
        for f in (files, expected)
    )
    assert found == wanted


def test_strays_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run")
    ours = [
        f".{GONE}-model.keras",
        f".{GONE + 1}-metrics.json",
        f".{os.getpid()}-.results/model.keras",  # of a container's earlier process
        f"saved_model/.{GONE}-1/variables/part",
        f"plots/.{GONE}-latents.png",
        f"failure/.{GONE}-batch.npz",
        f"checkpoints/.{GONE}-ckpt-4.index",
        f"checkpoints/.{GONE}-ckpt-4_temp/part.data-00000-of-00001",
        "checkpoints/ckpt-3_temp/part.tempstate1",
    ]
    mine = ["model.keras", f".{GONE}-notes.txt", ".x-model.keras", "x/.1-1"]
    mine += [f"saved_model/.{GONE}-2", f".{os.getppid()}-report.html"]  # of who runs
    for name in [*ours, *mine]:
        write_text(files.root / name, name)
    outside = tmp_path / f".{GONE}-run"
    outside.mkdir()
    with files.locked():
        left = {str(p.relative_to(files.root)) for p in files.root.rglob("*")}
    folders = {"saved_model", "plots", "failure", "checkpoints", "x", ".lock"}
    assert left == {*mine, *folders}
    assert outside.exists()


class Whole:
    """The runs that were left alone: two at once, with the same seed."""

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        self.settings = settings
        self.files = RunFiles(folder / "whole")
        self.again = RunFiles(folder / "again")
        processes = [start_run(f.root, settings) for f in (self.files, self.again)]
        wait_until(self.files.config.exists, processes[0])
        self.second = finish(start_run(self.files.root, settings), status=1)
        for process in processes:
            finish(process)

    def check(self, folder: Path, moments: Sequence[Moment]) -> None:
        """Kills a run at each moment in turn, lets it end, and compares."""
        files = RunFiles(folder / "run")
        for moment in moments:
            kill(start_run(files.root, self.settings), files, moment)
        finish(start_run(files.root, self.settings))
        assert_same_run(files, self.files)
        assert_no_strays(files, self.files)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("runs"), PINWHEEL)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(whole: Whole) -> None:
    assert_same_run(whole.again, whole.files)


@pytest.mark.slow
def test_a_second_process_on_one_folder_is_refused(whole: Whole) -> None:
    out, err = whole.second
    assert out.count("\n") == 1  # what it is about to train
    assert err.count("\n") == 1
    assert "another run is writing" in err


@pytest.mark.slow
def test_a_run_killed_in_training_and_at_its_end(whole: Whole, tmp_path: Path) -> None:
    whole.check(tmp_path, seeded((in_training, 0.5), (in_saved_model, 0.5)))


MOMENTS = seeded(
    (at_start, 3.0),
    (in_checkpoint, 0.0),
    (in_training, 1.0),
    (in_model, 0.0),
    (in_training, 0.3),
    (in_checkpoint, 0.003),
    (in_plots, 0.3),
    (in_checkpoint, 0.0),
    (in_model, 1.0),
    (in_plots, 0.3),
)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)], ids=str)
def test_runs_killed_at_ten_moments(
    whole: Whole, tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    whole.check(tmp_path, [MOMENTS[number] for number in numbers])


@pytest.mark.slow
def test_a_convolutional_run_with_the_mmd(tmp_path: Path) -> None:
    """Batch normalisation has statistics to save, the MMD other noise."""
    x = np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x_train=x[:40], x_test=x[40:])
    settings = (
        f"--dataset=npz:{tmp_path}/data.npz --prior=normal_learnt --latent_dim=3 "
        "--likelihood=bernoulli --batch_norm --divergence=dimensionwise_mmd "
        "--alpha=10 --epochs=6 --batch_size=15"
    )
    whole = Whole(tmp_path, settings.split())
    assert_same_run(whole.again, whole.files)
    whole.check(tmp_path, seeded((in_training, 0.3), (in_model, 0.5)))
