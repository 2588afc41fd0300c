# SPDX-License-Identifier: Apache-2.0
"""What tests of whole runs share: short runs, what a folder holds, what is saved."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tf_decomp.experiment import ExperimentConfig, train, training
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.state import RunState
from tf_decomp.files import write_text


def slow_behind(number: int, cases: Sequence[Any]) -> list[Any]:
    """Returns cases for `parametrize`, all but the first of which are slow."""
    slow = pytest.mark.slow
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[slow] if index >= number else [],
        )
        for index, case in enumerate(cases)
    ]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Returns everything below a folder but the lock: a file's bytes, else None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def tree(folder: Path) -> dict[str, Any]:
    """Returns the contents of a folder and when each was written."""
    return {
        name: (content, (folder / name).stat().st_mtime_ns if content else None)
        for name, content in contents(folder).items()
    }


def one_line(error: pytest.ExceptionInfo[Exception], *named: str) -> str:
    """Returns a message that must be one line, and name some things."""
    message = str(error.value)
    assert 0 < len(message) < 400
    assert "\n" not in message
    for part in named:
        assert part in message, message
    return message


def saved_arrays(files: RunFiles) -> dict[str, np.ndarray]:
    """Returns every array of model.keras: weights, optimiser, counters."""
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with (
        ZipFile(files.model) as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member, "r") as file,
    ):
        file.visititems(take)
    return arrays


def finished(factory: pytest.TempPathFactory, **settings: Any) -> ExperimentConfig:
    """Returns the settings of a small run that has finished, quickly."""
    config = small(factory.mktemp("runs") / "finished", **settings)
    with plain_operations():
        train(config)
    return config


def copy_of(config: ExperimentConfig, folder: Path, **more: Any) -> ExperimentConfig:
    """Copies a run and returns its settings there, with others."""
    shutil.copytree(config.output_dir, folder)
    return dataclasses.replace(config, output_dir=str(folder), **more)


def damages(
    cases: Sequence[tuple[str, Sequence[Any]]], fast: Callable[[str, Any], bool]
) -> list[Any]:
    """Returns (file, damage) for `parametrize`; all but the fast ones are slow."""
    return [
        pytest.param(
            name,
            damage,
            # One of some files is enough where time is short.
            marks=[] if fast(name, damage) else [pytest.mark.slow],
            id=f"{name}-{damage.__name__}",
        )
        for name, ways in cases
        for damage in ways
    ]


class Killed(BaseException):
    """Ends a run as a signal would: nothing of ours handles it."""


def small(folder: Path, **settings: Any) -> ExperimentConfig:
    """Returns settings of 2 steps an epoch."""
    defaults: dict[str, Any] = {"epochs": 4, "batch_size": 250, "hidden": (4,)}
    return ExperimentConfig(**{**defaults, **settings}, output_dir=str(folder))


def kill_at(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Kills the run where it would save the state of an epoch."""
    save = RunState.save

    def killed(self: RunState, at: int) -> None:
        if at == epoch:
            monkeypatch.setattr(RunState, "save", save)
            raise Killed
        save(self, at)

    monkeypatch.setattr(RunState, "save", killed)


@contextlib.contextmanager
def plain_operations(plots: bool = False) -> Iterator[None]:
    """Runs without compilation and, unless asked for, plots; an export is a file."""

    def export(vae: Any, path: Path) -> None:
        write_text(path / "saved_model.pb", "served")

    with pytest.MonkeyPatch.context() as patch:
        if not plots:
            patch.setattr(training, "draw_run", lambda *arguments: None)
        patch.setattr(training, "export_saved_model", export)
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)
