# SPDX-License-Identifier: Apache-2.0
"""What happens while a run trains: progress, history, states, the guard."""

import math
import time
from typing import Any

import keras
import tensorflow as tf

from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.state import RunState
from tf_decomp.files import naming

_UNITS = (("s", 1), ("min", 60), ("h", 3600))
# A row that prints nothing for so long says how far it is.
_SILENT_SECONDS = 60.0


class RunRecorder(keras.callbacks.Callback):
    """Writes a history row, TensorBoard scalars and a state for each Keras epoch.

    Of several workers the first alone writes.

    One Keras epoch is a row: several epochs of the data where these are very short.
    A loss that is not finite stops training, and its row is not written.

    Args:
        files: Of the run.
        state: Of the run.
        first_epoch: Epochs done before.
        epochs_a_row: Epochs of the data in a Keras epoch.

    Raises:
        OSError: A file cannot be written, or the folder is gone.

    Example:
        >>> vae.fit(batches, callbacks=[RunRecorder(files, state, 0, 10)])
    """

    def __init__(
        self, files: RunFiles, state: RunState, first_epoch: int, epochs_a_row: int
    ) -> None:
        super().__init__()
        self._files, self._state = files, state
        self._first_epoch, self._epochs_a_row = first_epoch, epochs_a_row
        self._writes, self.failed = state.is_chief, False
        if self._writes:
            self._rows = files.read_history(first_epoch)
            with naming(files.logs):
                self._writer = tf.summary.create_file_writer(str(files.logs))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Stops training when the running mean of the loss is not finite."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.failed = True
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the row, then the state, so that a state always has its row."""
        if self.failed or not self._writes:
            return
        self._files.check_held()
        last = self._first_epoch + (epoch + 1) * self._epochs_a_row
        row = {name: float(value) for name, value in (logs or {}).items()}
        self._rows.append({"epoch": last, **row})
        self._files.write_history(self._rows)
        with naming(self._files.logs), self._writer.as_default(step=last):
            for name, value in row.items():
                split, term = (
                    ("test", name[4:]) if name[:4] == "val_" else ("train", name)
                )
                if math.isfinite(value):
                    tf.summary.scalar(f"{split}/{term}", value)
            self._writer.flush()
        self._state.save(last)


class EpochProgress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, with the epochs of the data and the time that is left.

    Where it is no terminal, a long row says each minute how far it is.

    Args:
        first_epoch: Epochs done before.
        epochs_a_row: Epochs of the data in a Keras epoch.
        epochs: Epochs of the data in all.

    Example:
        >>> vae.fit(batches, callbacks=[EpochProgress(0, 10, 500)])
    """

    def __init__(self, first_epoch: int, epochs_a_row: int, epochs: int) -> None:
        super().__init__()
        self._first_epoch, self._epochs_a_row = first_epoch, epochs_a_row
        self._data_epochs = epochs
        self._starts: list[float] = []  # of the rows
        self._said = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Prints which epochs come, and what time is left once it can be told."""
        self._reset_progbar()
        self._maybe_init_progbar()
        self._said = time.monotonic()
        self._starts.append(self._said)
        first = self._first_epoch + epoch * self._epochs_a_row + 1
        last = first + self._epochs_a_row - 1
        which = f"Epoch {first}" if first == last else f"Epochs {first}-{last}"
        which += f" of {self._data_epochs}"
        # A short first row, with its compilation, is no measure of the others.
        measured = self._starts[1:]
        if len(self._starts) == 2 and self._said - self._starts[0] > _SILENT_SECONDS:
            measured = self._starts
        if len(measured) > 1:
            a_row = (measured[-1] - measured[0]) / (len(measured) - 1)
            which += f", {describe_left(a_row * (self.epochs - epoch))}"
        if self.verbose:
            print(which, flush=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Updates the bar, or says now and then how far a long row is."""
        super().on_train_batch_end(batch, logs)
        if self.verbose == 2 and time.monotonic() - self._said > _SILENT_SECONDS:
            self._said = time.monotonic()
            done, steps = batch + 1, self.target or batch + 1
            rows_left = self.epochs - len(self._starts) + 1
            step = (self._said - self._starts[-1]) / done
            left = describe_left(step * (rows_left * steps - done))
            print(f"step {done} of {steps}, {left}", flush=True)


def describe_left(seconds: float) -> str:
    """Says in round figures how long something will take yet.

    Args:
        seconds: How long.

    Example:
        >>> describe_left(200)
        'about 3 min left'
    """
    unit, size = next(u for u in _UNITS if seconds < 90 * u[1] or u == _UNITS[-1])
    return f"about {max(1, round(seconds / size))} {unit} left"
