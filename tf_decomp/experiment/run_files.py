# SPDX-License-Identifier: Apache-2.0
"""The files of a run: their places, the lock, the results that belong together."""

import contextlib
import csv
import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.files import (
    digest,
    read_json,
    read_text,
    remove,
    remove_leftovers,
    write_atomically,
    write_csv,
    write_json,
    write_text,
)

HISTORY_COLUMNS = ("epoch", "loss", "elbo", "log_likelihood", "kl", "divergence")
# What a reader of damaged files can do.
REMEDY = (
    "put the file back, start the training again, which writes it anew from the newest "
    "sound checkpoint, or train anew with overwrite=true"
)
# Settings that say where a run happens, not what it computes.
_PLACEMENT = ("output_dir", "strategy", "overwrite")
_MOST_CHANGES = 3  # that a message names
# The results of a run, in the order in which they take the places of earlier ones.
_RESULTS = ("environment", "model", "saved_model", "metrics", "config", "manifest")
_LEFT_OF_A_STATE = re.compile(r"\.\d+-.*|ckpt-.*_temp")  # TensorFlow's the second


class RunFiles:
    """Where the files of one run are.

    Args:
        output_dir: The run's folder.

    Example:
        >>> RunFiles("runs/pinwheel").metrics.exists()
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.root = Path(output_dir)
        self.manifest = self.root / "manifest.json"
        self.config = self.root / "config.flags"
        self.environment = self.root / "environment.json"
        self.history = self.root / "history.csv"
        self.metrics = self.root / "metrics.json"
        self.checkpoints = self.root / "checkpoints"
        self.model = self.root / "model.keras"
        self.saved_model = self.root / "saved_model" / "1"
        self.plots = self.root / "plots"
        self.logs = self.root / "logs"
        self.failure = self.root / "failure"
        self.evaluation = self.root / "evaluation.json"
        self.report = self.root / "report.html"
        self.explorer = self.root / "explorer.html"
        self.replacing = self.root / ".results"
        self._lock: os.stat_result | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the lock dies with it.

        Temporary files that a killed process has left are removed, and results that
        it was putting in place are put there.

        Raises:
            InputError: Another process holds it.
            OSError: The folder cannot be made or written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.root}: another run is writing there; wait for it or choose "
                    "another output_dir"
                ) from None
            self._lock = os.fstat(lock.fileno())
            self._remove_temporary()
            self._finish_replacing()
            yield

    def check_held(self) -> None:
        """Checks that the folder is still the one that this process locked.

        Raises:
            FileNotFoundError: It was removed, moved or replaced meanwhile.
        """
        try:
            there = os.stat(self.root / ".lock")
            is_same = self._lock is None or os.path.samestat(there, self._lock)
        except OSError:
            is_same = False
        if not (is_same and self.config.exists()):
            raise FileNotFoundError(
                errno.ENOENT,
                "the run's folder was removed, moved or replaced while it trained; "
                "put it back and start again to go on from its last state",
                str(self.root),
            )

    def existing(self) -> list[Path]:
        """Returns those of a run's files and folders that are there."""
        return [path for path in self._paths() if path.exists()]

    def clear(self) -> None:
        """Removes every file of an earlier run, and nothing else."""
        # config.flags marks the folder as a run's, so it goes last.
        for path in sorted(self.existing(), key=lambda path: path == self.config):
            remove(path)

    def _paths(self) -> list[Path]:
        found = [path for path in vars(self).values() if isinstance(path, Path)]
        return [path for path in found if path != self.root]

    def _remove_temporary(self) -> None:
        """Removes what killed processes were writing and did not rename."""
        if self.checkpoints.is_dir():
            for name in os.listdir(self.checkpoints):
                if _LEFT_OF_A_STATE.fullmatch(name):
                    remove(self.checkpoints / name)
        for path in self._paths():
            remove_leftovers(path, own=True)
        for folder in (self.plots, self.failure):
            for path in folder.glob(".*-*"):
                remove_leftovers(folder / path.name.partition("-")[2], own=True)

    # -- results ---------------------------------------------------------------------

    def replace_results(
        self, config: ExperimentConfig, write: Callable[["RunFiles"], None]
    ) -> None:
        """Lets `write` fill a new folder, then puts all of it in place.

        A process killed at any point leaves the earlier results whole, or what
        `locked` puts in place. An evaluation and plots of earlier results, being of
        another model, are removed.

        Args:
            config: Settings of the results.
            write: Receives the places to fill: metrics, model, saved_model and
                environment.

        Raises:
            OSError: They cannot be written.
        """

        def write_all(folder: Path) -> None:
            folder.mkdir()
            new = RunFiles(folder)
            write(new)
            write_text(new.config, config.to_flags())
            described = {
                str(path.relative_to(folder)): _describe(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file() and path != new.config
            }
            if self.history.exists():
                described[self.history.name] = _describe(self.history)
            write_json(new.manifest, {"config": config.to_flags(), "files": described})

        write_atomically(self.replacing, write_all)
        self._finish_replacing()

    def _finish_replacing(self) -> None:
        """Puts complete new results in the places of earlier ones."""
        if not self.replacing.is_dir():
            return
        new = RunFiles(self.replacing)
        if new.metrics.exists() and not _is_same(new.metrics, self.metrics):
            if self.evaluation.exists():
                print(
                    f"{self.root}: the evaluation was of an earlier model and is "
                    "removed; evaluate again",
                    flush=True,
                )
            for path in (self.evaluation, self.report, self.explorer, self.plots):
                remove(path)
        for name in _RESULTS:
            source, target = getattr(new, name), getattr(self, name)
            if source.exists():
                target.parent.mkdir(exist_ok=True)
                if source.is_dir():
                    remove(target)
                source.replace(target)
        remove(self.replacing)

    def find_damage(self, *names: str) -> str | None:
        """Returns which file of the results is not as the run wrote it, and how.

        Results of version 0.1.0 have no manifest.json: their files must be there, and
        metrics.json hold numbers.

        Args:
            *names: The files that must be whole besides config.flags; none: all.
        """
        if not self.manifest.exists():
            return self._find_early_damage(*names)
        try:
            manifest = self._read_manifest()
            for name, of in manifest["files"].items():
                if not names or name in names:
                    damage = _compare(self.root / name, of["bytes"], of["sha256"])
                    if damage:
                        return damage
            expected = ExperimentConfig.from_flags(manifest["config"])
            received = self.read_config()
        except FileNotFoundError as error:
            return f"{error.filename}: missing"
        except InputError as error:
            return str(error)
        changes = describe_changes(expected, received, "epochs")
        if changes:
            return f"{self.config}: is not as the run wrote it ({changes})"
        return None

    def _find_early_damage(self, *names: str) -> str | None:
        for path in (self.metrics, self.model):
            if not path.exists() and (not names or path.name in names):
                return f"{path}: missing"
        try:
            numbers = read_json(self.metrics).values()
            usable = all({"value", "n"} <= of.keys() for of in numbers)
        except InputError as error:
            return str(error)
        except AttributeError:
            usable = False
        return None if usable else f"{self.metrics}: expected the numbers of a test set"

    def _read_manifest(self) -> Any:
        manifest = read_json(self.manifest)
        try:
            parts = [
                of["bytes"] + len(of["sha256"]) for of in manifest["files"].values()
            ]
            usable = isinstance(manifest["config"], str) and bool(parts)
        except (TypeError, KeyError, AttributeError):
            usable = False
        if not usable:
            raise InputError(f"{self.manifest}: expected the digests of a run's files")
        return manifest

    def read_recorded_config(self) -> ExperimentConfig | None:
        """Returns the settings that the results were recorded with, if any were."""
        try:
            return ExperimentConfig.from_flags(self._read_manifest()["config"])
        except (InputError, OSError):
            return None

    def read_config(self) -> ExperimentConfig:
        """Returns the settings of the run.

        Raises:
            InputError: config.flags is no whole flagfile of settings.
            OSError: It cannot be read.
        """
        text = read_text(self.config)
        if "--overwrite=" not in text:  # the last of all settings
            raise InputError(
                f"{self.config}: expected every setting of the run; received a file "
                "that is cut or empty"
            )
        try:
            return ExperimentConfig.from_flags(text)
        except InputError as error:
            raise InputError(f"{self.config}: {error}") from None

    def read_metrics(self) -> dict[str, Any]:
        """Returns the final numbers of a finished run.

        Raises:
            InputError: The run is not finished, or its config.flags, metrics.json and
                model.keras do not belong together.
            OSError: A file cannot be read.
        """
        if self.replacing.exists():
            with self.locked():
                pass
        if not (self.metrics.exists() or self.manifest.exists()):
            raise InputError(
                f"{self.root}: holds no finished run (no metrics.json); train it first"
            )
        needed = [self.metrics.name]
        if self.manifest.exists():
            needed.append(self.model.name)
        damage = self.find_damage(*needed)
        if damage:
            raise InputError(f"{damage}; {REMEDY}")
        return read_json(self.metrics)

    # -- history ---------------------------------------------------------------------

    def read_history(self, last_epoch: int) -> list[dict[str, float]]:
        """Returns the rows up to an epoch; an empty cell is NaN.

        Args:
            last_epoch: Rows behind it were written after the state to resume from.

        Raises:
            InputError: It is no table of numbers.
            OSError: It cannot be read.
        """
        if not self.history.exists():
            return []
        rows = []
        try:
            with self.history.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file, strict=True):
                    cells = row.items()
                    rows.append({name: float(cell or "nan") for name, cell in cells})
            return [row for row in rows if row["epoch"] <= last_epoch]
        except (ValueError, TypeError, KeyError, csv.Error):
            raise InputError(
                f"{self.history}: row {len(rows) + 1} is not a row of numbers; {REMEDY}"
            ) from None

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes all rows, NaN as an empty cell, the fixed columns first."""
        columns = dict.fromkeys([*HISTORY_COLUMNS, *(rows[0] if rows else ())])
        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        write_csv(self.history, [*columns], cells)


def describe_changes(
    earlier: ExperimentConfig, now: ExperimentConfig, *more: str
) -> str:
    """Returns which settings differ, but for those that only say where a run happens.

    It names the first few, so that a message stays one line.

    Args:
        earlier: Settings of what is there.
        now: Settings to compare.
        *more: "epochs", where these must be equal too.
    """
    old, new = earlier.to_texts(), now.to_texts()
    names = [
        name for name in old if name not in (*_PLACEMENT, "epochs") or name in more
    ]
    changes = [
        f"{name}={old[name]} is now {new[name]}"
        for name in names
        if old[name] != new[name]
    ]
    more_than_told = len(changes) - _MOST_CHANGES
    if more_than_told > 0:
        changes[_MOST_CHANGES:] = [f"and {more_than_told} more"]
    return ", ".join(changes)


def warn(text: str) -> None:
    """Prints one line on stderr: what was found amiss and what is done about it."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest(path)}


def _compare(path: Path, size: int, expected: str) -> str | None:
    """Returns what is wrong with a file; to history.csv rows may have been added."""
    found = path.stat().st_size
    as_long = found >= size if path.suffix == ".csv" else found == size
    if as_long and digest(path, size) == expected:
        return None
    return f"{path}: is not as the run wrote it"


def _is_same(path: Path, other: Path) -> bool:
    return other.is_file() and path.read_bytes() == other.read_bytes()


def _cell(value: float) -> str:
    if value != value:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
