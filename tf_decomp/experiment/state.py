# SPDX-License-Identifier: Apache-2.0
"""The states that a run resumes from, each with what belongs to it.

A state of epoch 7 is TensorFlow's `checkpoints/ckpt-7.index` and `ckpt-7.data-...`, and
`ckpt-7.json` with the digest of the index (which holds a checksum of each tensor), the
settings and the rows of history.csv. It is written under a temporary name and renamed,
ckpt-7.json last.
"""

import itertools
import os
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles, describe_changes, warn
from tf_decomp.experiment.strategies import broadcast_variables, is_chief
from tf_decomp.files import (
    digest,
    exact,
    naming,
    read_json,
    remove,
    write_json,
    write_text,
)
from tf_decomp.vae import DecompositionVAE

_KEPT = 2
_STATE = re.compile(r"ckpt-(\d+)\.(?:index|json)")
_LOST = "put its files back from a copy, or train anew with overwrite=true"


class RunState:
    """Everything that a run resumes from: weights, optimiser, counters, epoch.

    Of several workers the first alone saves and reads it; the others take its values.

    Args:
        vae: Compiled.
        files: Of the run.
        config: Its settings.

    Example:
        >>> epoch = RunState(vae, files, config).restore()
    """

    def __init__(
        self, vae: DecompositionVAE, files: RunFiles, config: ExperimentConfig
    ) -> None:
        self._strategy = vae.distribute_strategy
        self._files, self._config = files, config
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        slots = (learner.optimizer.variables for learner in vae.learners())
        self._variables = [v.value for v in itertools.chain(vae.weights, *slots)]
        self._checkpoint = tf.train.Checkpoint(
            epoch=self._epoch, variables=self._variables
        )
        self._sound: list[int] = []  # epochs of states read or saved here

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return is_chief(self._strategy)

    def save(self, epoch: int) -> None:
        """Saves the state at the end of an epoch (0: before the first).

        Raises:
            OSError: It cannot be written.
        """
        self._epoch.assign(epoch)
        if not self.is_chief:
            return
        folder = self._files.checkpoints
        with naming(folder / f"ckpt-{epoch}"):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_state(folder, epoch)
            index = self._write(folder, epoch)
        record = {
            "index": index,
            "config": self._config.to_flags(),
            "history": _read_rows(self._files.history),
        }
        write_json(folder / f"ckpt-{epoch}.json", record)
        self._sound = [*(e for e in self._sound if e < epoch), epoch][-_KEPT:]
        write_text(folder / "checkpoint", _listing(self._sound))
        for other in _all_epochs(folder):
            if other not in self._sound:
                _remove_state(folder, other)

    def load(self) -> None:
        """Reads the newest sound state, on the chief; none leaves all as it is.

        A state that is damaged is said on stderr, and an older one taken.

        Raises:
            InputError: There are states or rows of history, but no sound state; or
                more epochs were trained than the settings ask for.
        """
        if not self.is_chief:
            return
        faults: list[str] = []
        for epoch in saved_epochs(self._files.checkpoints):
            if epoch > self._config.epochs:
                raise InputError(
                    f"{self._files.root}: the run has trained {epoch} epochs already; "
                    f"ask for epochs={epoch} or more, or train anew with overwrite=true"
                )
            fault = self._read(epoch)
            if fault is None:
                if faults:
                    warn(f"{faults[0]}; going on from the state of epoch {epoch}")
                self._sound = [epoch]
                return
            faults.append(fault)
        if faults:
            raise InputError(f"{faults[0]}, and no older state is sound; {_LOST}")
        listing = self._files.checkpoints / "checkpoint"
        if listing.exists() or self._files.read_history(2**63):
            raise InputError(
                f"{self._files.checkpoints}: holds no state, but the run was trained "
                f"already; {_LOST}"
            )

    def share(self) -> int:
        """Gives every worker the chief's state and returns its epoch."""
        broadcast_variables(self._strategy, [self._epoch, *self._variables])
        return int(self._epoch.numpy())

    def restore(self) -> int:
        """Reads the newest sound state, shares it and returns its epoch."""
        self.load()
        return self.share()

    def _write(self, folder: Path, epoch: int) -> str:
        """Writes TensorFlow's files and returns the digest of the index."""
        prefix = f".{os.getpid()}-"
        try:
            with exact(folder) as place:
                self._checkpoint.write(str(place / f"{prefix}ckpt-{epoch}"))
            index = digest(folder / f"{prefix}ckpt-{epoch}.index")
            for name in sorted(os.listdir(folder)):  # the index behind its data
                if name.startswith(f"{prefix}ckpt-{epoch}."):
                    (folder / name).replace(folder / name.removeprefix(prefix))
        finally:
            for name in os.listdir(folder):
                if name.startswith(f"{prefix}ckpt-{epoch}"):
                    remove(folder / name)
        return index

    def _read(self, epoch: int) -> str | None:
        """Reads a state; returns what is wrong with it."""
        folder, history = self._files.checkpoints, self._files.history
        place = folder
        try:
            record = read_record(folder, epoch)
            if record is None:  # of version 0.1.0
                rows = self._files.read_history(2**63)
                if epoch and epoch not in (row["epoch"] for row in rows):
                    return f"{history}: has no row of epoch {epoch}"
            else:
                fault = self._compare(record, epoch)
                if fault:
                    return fault
            with exact(folder) as place:
                status = self._checkpoint.read(str(place / f"ckpt-{epoch}"))
            status.assert_existing_objects_matched()
        except InputError as error:
            return str(error)
        except Exception as error:  # of many classes, by where the damage is
            said = " ".join(str(error).split()).replace(str(place), str(folder))
            return f"{folder / f'ckpt-{epoch}'}: cannot be read ({said[:300]})"
        if int(self._epoch.numpy()) != epoch:
            return f"{folder / f'ckpt-{epoch}'}: is of epoch {int(self._epoch.numpy())}"
        if record and not _read_rows(history).startswith(record["history"]):
            warn(
                f"{history}: its rows up to epoch {epoch} are not as the run wrote "
                "them; they are written again from the state"
            )
            write_text(history, record["history"])
        return None

    def _compare(self, record: dict[str, Any], epoch: int) -> str | None:
        """Returns what of a state does not belong to it."""
        folder = self._files.checkpoints
        index = folder / f"ckpt-{epoch}.index"
        if not index.exists():
            return f"{index}: missing"
        if digest(index) != record["index"]:
            return f"{index}: is not as the run wrote it"
        earlier = ExperimentConfig.from_flags(record["config"])
        changes = describe_changes(earlier, self._config)
        if changes:
            return f"{folder / f'ckpt-{epoch}'}: is of other settings ({changes})"
        return None


def saved_epochs(folder: Path) -> list[int]:
    """Returns the epochs of the states in a folder, newest first."""
    names = os.listdir(folder) if folder.is_dir() else []
    found = {int(match[1]) for name in names if (match := _STATE.fullmatch(name))}
    return sorted(found, reverse=True)


def read_record(folder: Path, epoch: int) -> dict[str, Any] | None:
    """Returns what belongs to a state, or None where version 0.1.0 wrote it.

    Raises:
        InputError: The record is damaged.
    """
    path = folder / f"ckpt-{epoch}.json"
    if not path.exists():
        return None
    record = read_json(path)
    texts = ("index", "config", "history")
    if not isinstance(record, dict) or not all(
        isinstance(record.get(name), str) for name in texts
    ):
        raise InputError(f"{path}: expected the texts {', '.join(texts)}")
    return record


def read_recorded_config(folder: Path) -> ExperimentConfig | None:
    """Returns the settings of the newest state that says them soundly, if any does."""
    for epoch in saved_epochs(folder):
        try:
            record = read_record(folder, epoch)
            if record:
                return ExperimentConfig.from_flags(record["config"])
        except (InputError, OSError):
            continue
    return None


def _all_epochs(folder: Path) -> set[int]:
    """Returns the epochs of all files of states, of parts of them too."""
    found = (re.match(r"ckpt-(\d+)\.", name) for name in os.listdir(folder))
    return {int(match[1]) for match in found if match}


def _remove_state(folder: Path, epoch: int) -> None:
    """Removes a state, what makes it one first."""
    names = [name for name in os.listdir(folder) if name.startswith(f"ckpt-{epoch}.")]
    for ending in (".json", ".index", ""):
        for name in [name for name in names if name.endswith(ending)]:
            remove(folder / name)


def _read_rows(history: Path) -> str:
    """Returns history.csv as it is, "" where it is missing or no text."""
    try:
        return history.read_bytes().decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _listing(epochs: list[int]) -> str:
    """Returns what `tf.train.latest_checkpoint` reads."""
    lines = [f'model_checkpoint_path: "ckpt-{epochs[-1]}"']
    lines += [f'all_model_checkpoint_paths: "ckpt-{epoch}"' for epoch in epochs]
    return "".join(f"{line}\n" for line in lines)
