# SPDX-License-Identifier: Apache-2.0
"""The files of a run: history rows, the lock, whole writes, and what `clear` spares."""

import csv
import fcntl
import json
from pathlib import Path

import numpy as np
import pytest
from runs import contents, one_line

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import (
    HISTORY_COLUMNS,
    RunFiles,
    describe_changes,
)
from tf_decomp.files import write_atomically, write_json, write_text

NAN = float("nan")
COLUMNS = ("epoch", "loss", "elbo", "log_likelihood", "kl", "divergence")


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "run")


def full_run(files: RunFiles) -> None:
    for path in (files.config, files.metrics, files.history, files.environment):
        write_text(path, path.name)
    write_text(files.model, "model")
    for folder in (files.checkpoints, files.saved_model, files.plots, files.logs):
        write_text(folder / "inner" / "file", "content")
    write_text(files.failure / "batch.npz", "batch")


def test_names(files: RunFiles) -> None:
    full_run(files)
    assert {path.name for path in files.root.iterdir()} == {
        "config.flags",
        "environment.json",
        "history.csv",
        "metrics.json",
        "checkpoints",
        "model.keras",
        "saved_model",
        "plots",
        "logs",
        "failure",
    }
    assert files.saved_model == files.root / "saved_model" / "1"


# -- history.csv --------------------------------------------------------------------


def test_history_columns_and_round_trip(files: RunFiles) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "val_loss": float(np.float32(rng.normal())),
            "divergence": NAN if epoch == 20 else float(rng.normal()),
            **{name: float(rng.normal() * 1e-30) for name in COLUMNS[1:-1]},
            "epoch": epoch,
        }
        for epoch in (10, 20, 30)
    ]
    files.write_history(rows)
    with files.history.open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == [*COLUMNS, "val_loss"]
    assert COLUMNS == HISTORY_COLUMNS
    assert [line[0] for line in lines[1:]] == ["10", "20", "30"]
    assert lines[2][5] == ""  # not computed
    again = files.read_history(30)
    for row, expected in zip(again, rows, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(row[name], value)  # every bit


def test_history_without_divergence_has_its_column(files: RunFiles) -> None:
    files.write_history([{"epoch": 1, "loss": 2.0, "val_kl": 3.0}])
    assert files.history.read_text() == (
        "epoch,loss,elbo,log_likelihood,kl,divergence,val_kl\n1,2,,,,,3\n"
    )


def test_history_drops_rows_behind_the_state(files: RunFiles) -> None:
    assert files.read_history(10) == []
    files.write_history([{"epoch": epoch, "loss": 1.0} for epoch in (5, 10, 15)])
    assert [row["epoch"] for row in files.read_history(10)] == [5, 10]
    assert [row["epoch"] for row in files.read_history(14)] == [5, 10]
    assert files.read_history(0) == []


def test_history_infinity(files: RunFiles) -> None:
    files.write_history([{"epoch": 1, "loss": float("inf")}])
    assert files.read_history(1)[0]["loss"] == float("inf")


# -- whole writes -------------------------------------------------------------------


def test_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def write(name: Path) -> None:
        name.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert contents(tmp_path) == {"metrics.json": b"old"}
    write_text(path, "new")
    assert contents(tmp_path) == {"metrics.json": b"new"}


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    def write(name: Path) -> None:
        (name / "inner").mkdir(parents=True)
        (name / "inner" / "file").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "saved_model", write)
    assert contents(tmp_path) == {}


def test_writer_sees_the_ending_in_the_same_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.keras"

    def write(name: Path) -> None:
        assert (name.suffix, name.parent) == (".keras", path.parent)
        assert name != path
        name.mkdir()
        (name / "weights").write_text("w")

    write_atomically(path, write)
    assert contents(path) == {"weights": b"w"}


def test_json_has_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    value = {"a": {"value": NAN, "n": 3}, "b": [1.5, (NAN, None)], "c": "NaN"}
    write_json(path, value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "a": {"value": None, "n": 3},
        "b": [1.5, [None, None]],
        "c": "NaN",
    }


def test_json_is_standard_json(tmp_path: Path) -> None:
    """An infinite number of a test set is no word that only Python reads."""
    path = tmp_path / "metrics.json"
    write_json(path, {"value": float("inf"), "low": -float("inf")})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)


# -- the lock -----------------------------------------------------------------------


def test_lock_is_exclusive_and_released(files: RunFiles) -> None:
    with files.locked():
        with (
            pytest.raises(InputError, match="another run is writing there") as caught,
            RunFiles(files.root).locked(),
        ):
            pass
        one_line(caught, str(files.root))
    with files.locked():
        pass
    with pytest.raises(RuntimeError), files.locked():
        raise RuntimeError
    with (files.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=str(root)), RunFiles(root).locked():
            pass
    assert contents(tmp_path) == {"file": b"mine"}


# -- existing and clear -------------------------------------------------------------


def test_clear_removes_a_run_and_nothing_else(files: RunFiles) -> None:
    mine = {
        "notes.txt": "mine",
        "plots.txt": "mine",
        "saved_model/2/saved_model.pb": "mine",
        "my_plots/mean.png": "mine",
    }
    for name, text in mine.items():
        write_text(files.root / name, text)
    assert files.existing() == []
    before = contents(files.root)
    full_run(files)
    assert len(files.existing()) == 10
    files.clear()
    assert contents(files.root) == before
    files.clear()


def test_clear_that_is_cut_short_can_be_repeated(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.flags marks the folder as a run's, so it goes last."""
    full_run(files)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tf_decomp.files.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        files.clear()
    assert files.config.exists()


def test_of_many_changes_the_first_are_named() -> None:
    now = {"beta": 2.0, "df": 6.0, "seed": 1, "epochs": 9, "output_dir": "elsewhere"}
    earlier, some = ExperimentConfig(), ExperimentConfig(**now)
    three = ["df=5.0 is now 6.0", "beta=1.0 is now 2.0", "seed=0 is now 1"]
    assert describe_changes(earlier, some) == ", ".join(three)
    all_told = describe_changes(earlier, some, "epochs")
    assert all_told.count("is now") == 3
    assert all_told.endswith(", and 1 more")
