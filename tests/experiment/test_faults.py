# SPDX-License-Identifier: Apache-2.0
"""Faults around a run: full disks, signals, vanished folders, odd names, pictures."""

import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import TRAIN, finish, run_python, start_python, wait_until
from runs import (
    Killed,
    contents,
    kill_at,
    one_line,
    plain_operations,
    saved_arrays,
    slow_behind,
    small,
    tree,
)

from tf_decomp import ExperimentConfig, InputError, train
from tf_decomp.experiment import figures, training
from tf_decomp.experiment.callbacks import EpochProgress, describe_left
from tf_decomp.experiment.finished import load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.state import RunState
from tf_decomp.files import write_text

# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")


@pytest.fixture
def plain() -> Iterator[None]:
    with plain_operations():
        yield


def is_plain(test: Any) -> Any:
    # tf.data says that it compiles nevertheless.
    quiet = pytest.mark.filterwarnings("ignore:Even though the `tf.config")
    return pytest.mark.usefixtures("plain")(quiet(test))


# -- a full disk --------------------------------------------------------------------

FULL = "/runs/x/variables.data-00000-of-00001.tempstate1; No space left on device"


def tensorflow_says(*_: Any, **__: Any) -> None:
    raise tf.errors.ResourceExhaustedError(None, None, f"{FULL}\n [Op:SaveV2]")


def python_says(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


FAULTS: list[tuple[Any, str, Callable[..., None], str]] = [
    (tf.train.Checkpoint, "write", tensorflow_says, "checkpoints/ckpt-0"),
    (training, "export_saved_model", tensorflow_says, "saved_model/1"),
    (training, "export_saved_model", python_says, "saved_model/1"),
    (keras.Model, "save", python_says, "model.keras"),
    (tf.summary, "create_file_writer", tensorflow_says, "logs"),
    (tf.summary, "scalar", tensorflow_says, "logs"),
    (Path, "write_text", python_says, "config.flags"),
]


@is_plain
@pytest.mark.parametrize(
    ("of", "name", "fault", "file"),
    slow_behind(3, FAULTS),
    ids=[f"{name}-{fault.__name__}" for _, name, fault, _ in FAULTS],
)
def test_a_full_disk_is_one_line_that_names_the_file(
    of: Any,
    name: str,
    fault: Callable[..., None],
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small(tmp_path / "run", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(of, name, fault)
        with pytest.raises(OSError, match="No space left on device") as caught:
            train(config)
    one_line(caught, str(tmp_path / "run" / file))
    assert not [p for p in tmp_path.rglob(".*") if p.name != ".lock"]
    train(config)
    load_finished_run(RunFiles(config.output_dir))


@pytest.mark.slow
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """A real limit of the system, which TensorFlow's writers and Python's meet."""
    command = [TRAIN, "--epochs=1", "--hidden=200,200", f"--output_dir={tmp_path}/run"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    _, err = run_python(*command, status=1, preexec_fn=limit)
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert "File too large" in lines[0]
    assert "checkpoints/ckpt-0" in lines[0]
    run_python(*command)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_spares_a_finished_run(small_disk: Path) -> None:
    files = RunFiles(small_disk / "run")
    command = [TRAIN, "--hidden=8", f"--output_dir={files.root}"]
    run_python(*command, "--epochs=2")
    names = ("metrics.json", "model.keras", "config.flags", "manifest.json")
    before = {name: (files.root / name).read_bytes() for name in names}
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    _, err = run_python(*command, "--epochs=4", status=1)
    assert "No space left on device" in err.splitlines()[-1]
    assert str(files.root) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert {name: (files.root / name).read_bytes() for name in names} == before
    assert load_finished_run(files).config.epochs == 2
    filler.unlink()
    run_python(*command, "--epochs=4")
    assert load_finished_run(files).config.epochs == 4


# -- signals ------------------------------------------------------------------------


def in_training(files: RunFiles) -> bool:
    return (files.checkpoints / "ckpt-3.json").exists()


def in_results(files: RunFiles) -> bool:
    return any(files.root.glob(".*.results"))


def in_plots(files: RunFiles) -> bool:
    return files.metrics.exists()


@pytest.mark.slow
def test_signals_leave_what_the_same_command_continues(tmp_path: Path) -> None:
    config = small(tmp_path / "run", epochs=12)
    files = RunFiles(config.output_dir)
    moments = [
        (in_training, signal.SIGINT),
        (in_results, signal.SIGTERM),
        (in_plots, signal.SIGINT),
    ]
    for reached, number in moments:
        process = start_python(TRAIN, *config.to_flags().splitlines())
        wait_until(lambda reached=reached: reached(files), process)
        process.send_signal(number)
        _, err = finish(process, 128 + number)
        assert err == "train.py: interrupted; the same command continues\n"
        # Complete new results may still be on their way to their places.
        assert {p.name for p in files.root.rglob(".*")} <= {".lock", ".results"}
    finish(start_python(TRAIN, *config.to_flags().splitlines()))
    whole = small(tmp_path / "whole", epochs=12)
    finish(start_python(TRAIN, *whole.to_flags().splitlines()))
    expected = RunFiles(whole.output_dir)
    assert files.history.read_bytes() == expected.history.read_bytes()
    assert files.metrics.read_bytes() == expected.metrics.read_bytes()
    ours, theirs = saved_arrays(files), saved_arrays(expected)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, name)
    assert not figures.missing_plots(files)


# -- the folder ---------------------------------------------------------------------


@is_plain
@pytest.mark.parametrize(
    "how", slow_behind(1, ["removed", "moved", "replaced", "config", "lock"])
)
def test_a_folder_that_is_gone_ends_the_run(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(tmp_path / "run")
    files, save = RunFiles(config.output_dir), RunState.save

    def save_and_lose(self: RunState, epoch: int) -> None:
        save(self, epoch)
        if epoch != 2:
            return
        if how == "removed":
            shutil.rmtree(files.root)
        elif how in ("moved", "replaced"):
            files.root.rename(tmp_path / "elsewhere")
            if how == "replaced":
                shutil.copytree(tmp_path / "elsewhere", files.root)
        else:
            (files.config if how == "config" else files.root / ".lock").unlink()
        after.update(contents(tmp_path))

    after: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(RunState, "save", save_and_lose)
        with pytest.raises(OSError, match="removed, moved or replaced") as caught:
            train(config)
    one_line(caught, str(files.root))
    assert contents(tmp_path) == after  # nothing is made anew
    if how == "moved":
        (tmp_path / "elsewhere").rename(files.root)
    train(config)


NAMES = [
    "run[1]",
    "run[!1] a*b what?",
    "back\\slash {a,b} 100%j",
    'it\'s "so"  a;c&d',
    "-dash $x^2$ été",
    "ckpt-3.index",
]


@is_plain
@pytest.mark.parametrize("name", slow_behind(1, NAMES))
def test_a_folder_of_any_name_resumes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(tmp_path / name / "run", epochs=3)
    files = RunFiles(config.output_dir)
    kill_at(monkeypatch, 3)
    with pytest.raises(Killed):
        train(config)
    rows = files.history.read_bytes()
    train(config)
    assert files.history.read_bytes() == rows
    kept = {path.name.partition(".")[0] for path in files.checkpoints.glob("ckpt-*")}
    assert kept == {"ckpt-2", "ckpt-3"}
    assert load_finished_run(files).config == config


@pytest.mark.parametrize(
    "name", ["run ", "run\n", "a\nb", "run\t", "a\rb", "a\x85b", "a\0b", "a\udcffb"]
)
def test_a_name_that_no_line_holds_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(small(tmp_path / name))
    one_line(caught, "output_dir")
    assert not list(tmp_path.iterdir())


@is_plain
def test_temporary_files_of_killed_writers_are_cleared(tmp_path: Path) -> None:
    """Of an export to a folder that has no lock, too."""
    gone, path = 2**22 + 1, tmp_path / "1"
    write_text(tmp_path / f".{gone}-1" / "variables" / "part", "half")
    write_text(tmp_path / f".{os.getppid()}-1" / "part", "being written")
    write_text(tmp_path / f".{gone}-2", "of another name")
    write_text(path, "done")
    assert {p.name for p in tmp_path.iterdir()} == {
        "1",
        f".{gone}-2",
        f".{os.getppid()}-1",
    }


# -- pictures -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_a_picture_that_fails_takes_nothing_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small(tmp_path / "run", epochs=1)
    files = RunFiles(config.output_dir)

    def fail(*_: Any) -> None:
        raise ValueError("no such\ncolour")

    with plain_operations(plots=True):
        for failing in (True, True, False):
            with monkeypatch.context() as patch:
                if failing:
                    patch.setattr(figures, "samples", fail)
                train(config)
            err = capsys.readouterr().err
            expected = f"warning: {files.plots}/samples.png: not drawn (ValueError: "
            assert err == (f"{expected}no such colour)\n" if failing else "")
            load_finished_run(files)
            missing = ["samples"] if failing else []
            assert [path.stem for path in figures.missing_plots(files)] == missing
        before = tree(tmp_path)
        train(config)
        assert tree(tmp_path) == before


TITLES = [r"$\frac{", r"a$b \$x _^{}", "$$ 50% $5", r"$\notacommand$ #1&~"]


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize(
    "name",
    slow_behind(1, TITLES),
)
def test_names_in_titles_are_plain_text(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    labels = np.array([name, "other"] * 20)
    path = tmp_path / f"{name}.npz"
    np.savez(path, x_train=x, x_test=x, y_train=labels, y_test=labels)
    config = small(tmp_path / "run", epochs=1, batch_size=20, dataset=f"npz:{path}")
    with plain_operations(plots=True):
        train(config)
    assert not figures.missing_plots(RunFiles(config.output_dir))
    assert not capsys.readouterr().err


# -- progress -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (80, "80 s"), (100, "2 min"), (5000, "83 min"), (1e5, "28 h")],
)
def test_what_is_left_is_said_in_round_figures(seconds: float, text: str) -> None:
    assert describe_left(seconds) == f"about {text} left"


def test_headings_and_long_rows_say_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = EpochProgress(first_epoch=10, epochs_a_row=5, epochs=30)
    progress.set_params({"verbose": 2, "epochs": 4, "steps": 10})
    # The first row takes 400 s, the others 100 s each.
    for row, step_seconds in enumerate((40, 10, 10, 10)):
        progress.on_epoch_begin(row)
        for step in range(10):
            now[0] += step_seconds
            progress.on_train_batch_end(step, {"loss": 1.0})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epochs 11-15 of 30"
    assert lines[1] == "step 2 of 10, about 25 min left"  # 40 s a step, 38 to go
    headings = [line for line in lines if line.startswith("Epochs")]
    assert headings[1:] == [
        "Epochs 16-20 of 30, about 20 min left",  # 400 s a row is all it knows
        "Epochs 21-25 of 30, about 3 min left",
        "Epochs 26-30 of 30, about 2 min left",
    ]
    # One that is short is mostly compilation: nothing is said of it.
    progress = EpochProgress(first_epoch=0, epochs_a_row=1, epochs=3)
    progress.set_params({"verbose": 2, "epochs": 3, "steps": 1})
    for row, seconds in enumerate((20, 5, 5)):
        progress.on_epoch_begin(row)
        now[0] += seconds
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1 of 3",
        "Epoch 2 of 3",
        "Epoch 3 of 3, about 5 s left",
    ]


# -- a folder that cannot be written ------------------------------------------------


@is_plain
def test_settings_of_a_run_are_compared_without_a_change(tmp_path: Path) -> None:
    config = small(tmp_path / "run", epochs=1)
    train(config)
    before = tree(tmp_path)
    with pytest.raises(InputError):
        train(dataclasses.replace(config, seed=5))
    assert tree(tmp_path) == before


def test_config_round_trip_of_settings() -> None:
    """Every name that is not refused comes back as it was."""
    for name in NAMES:
        config = ExperimentConfig(output_dir=f"runs/{name}")
        assert ExperimentConfig.from_flags(config.to_flags()) == config
