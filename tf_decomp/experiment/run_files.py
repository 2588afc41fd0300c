# SPDX-License-Identifier: Apache-2.0
"""The files of a run: their places, the lock, and what is read and written often."""

import contextlib
import csv
import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.files import read_json, remove, write_csv

HISTORY_COLUMNS = ("epoch", "loss", "elbo", "log_likelihood", "kl", "divergence")


class RunFiles:
    """Where the files of one run are.

    Args:
        output_dir: The run's folder.

    Example:
        >>> RunFiles("runs/pinwheel").metrics.exists()
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.root = Path(output_dir)
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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the lock dies with it.

        Temporary files that a killed process has left are removed.

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
                    "another --output_dir"
                ) from None
            self._remove_temporary()
            yield

    def existing(self) -> list[Path]:
        """Returns those of a run's files and folders that are there."""
        paths = [path for path in vars(self).values() if path != self.root]
        return [path for path in paths if path.exists()]

    def clear(self) -> None:
        """Removes every file of an earlier run, and nothing else."""
        # config.flags marks the folder as a run's, so it goes last.
        for path in sorted(self.existing(), key=lambda path: path == self.config):
            remove(path)

    def _remove_temporary(self) -> None:
        """Removes what `write_atomically` made for a run's file and did not rename."""
        for path in self.checkpoints.glob("ckpt-*_temp"):  # TensorFlow's own
            remove(path)
        paths = [path for path in vars(self).values() if path != self.root]
        for path in (*paths, self.plots / "*", self.failure / "*"):
            for found in path.parent.glob(f".*-{path.name}"):
                if re.fullmatch(r"\.\d+-.+", found.name):
                    remove(found)

    def read_config(self) -> ExperimentConfig:
        """Returns the settings of the run.

        Raises:
            InputError: config.flags is no flagfile of settings.
            OSError: It cannot be read.
        """
        return ExperimentConfig.from_flags(self.config.read_text(encoding="utf-8"))

    def read_metrics(self) -> dict[str, Any]:
        """Returns the final numbers of a finished run.

        Raises:
            InputError: The run is not finished.
        """
        if not self.metrics.exists():
            raise InputError(
                f"{self.root}: holds no finished run (no metrics.json); train it first"
            )
        return read_json(self.metrics)

    def read_history(self, last_epoch: int) -> list[dict[str, float]]:
        """Returns the rows up to an epoch; an empty cell is NaN.

        Args:
            last_epoch: Rows behind it were written after the state to resume from.
        """
        if not self.history.exists():
            return []
        with self.history.open(newline="", encoding="utf-8") as file:
            rows = [
                {name: float(value or "nan") for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
        return [row for row in rows if row["epoch"] <= last_epoch]

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes all rows, NaN as an empty cell, the fixed columns first."""
        columns = dict.fromkeys([*HISTORY_COLUMNS, *(rows[0] if rows else ())])
        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        write_csv(self.history, [*columns], cells)


def _cell(value: float) -> str:
    if value != value:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
