# SPDX-License-Identifier: Apache-2.0
"""What happens while a run trains: progress, history, checkpoints, the guard."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.strategies import broadcast_variables, is_chief
from tf_decomp.vae import DecompositionVAE


class RunState:
    """Everything that a run resumes from: weights, optimiser, counters, epoch.

    Of several workers the first alone saves and reads it; the others take its values.

    Args:
        vae: Compiled.
        files: Of the run.

    Example:
        >>> epoch = RunState(vae, files).restore()
    """

    def __init__(self, vae: DecompositionVAE, files: RunFiles) -> None:
        self._strategy = vae.distribute_strategy
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._variables = [v.value for v in (*vae.weights, *vae.optimizer.variables)]
        checkpoint = tf.train.Checkpoint(epoch=self._epoch, variables=self._variables)
        self._manager = tf.train.CheckpointManager(
            checkpoint, str(files.checkpoints), max_to_keep=2
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return is_chief(self._strategy)

    def save(self, epoch: int) -> None:
        """Saves the state at the end of an epoch (0: before the first)."""
        self._epoch.assign(epoch)
        if self.is_chief:
            self._manager.save(checkpoint_number=epoch)

    def restore(self) -> int:
        """Restores the newest state and returns its epoch; 0 where there is none."""
        if self.is_chief:
            self._manager.restore_or_initialize()
        broadcast_variables(self._strategy, [self._epoch, *self._variables])
        return int(self._epoch.numpy())


class RunRecorder(keras.callbacks.Callback):
    """Writes a history row, TensorBoard scalars and a checkpoint for each Keras epoch.

    Of several workers the first alone writes.

    One Keras epoch is a row: several epochs of the data where these are very short.
    A loss that is not finite stops training, and its row is not written.

    Args:
        files: Of the run.
        state: Of the run.
        first_epoch: Epochs done before.
        epochs_a_row: Epochs of the data in a Keras epoch.

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
        last = self._first_epoch + (epoch + 1) * self._epochs_a_row
        row = {name: float(value) for name, value in (logs or {}).items()}
        self._rows.append({"epoch": last, **row})
        self._files.write_history(self._rows)
        with self._writer.as_default(step=last):
            for name, value in row.items():
                split, term = (
                    ("test", name[4:]) if name[:4] == "val_" else ("train", name)
                )
                if math.isfinite(value):
                    tf.summary.scalar(f"{split}/{term}", value)
        self._writer.flush()
        self._state.save(last)


class EpochProgress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, with the epochs of the data in its headings.

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

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Prints which epochs come."""
        self._reset_progbar()
        self._maybe_init_progbar()
        first = self._first_epoch + epoch * self._epochs_a_row + 1
        last = first + self._epochs_a_row - 1
        which = f"Epoch {first}" if first == last else f"Epochs {first}-{last}"
        if self.verbose:
            print(f"{which} of {self._data_epochs}", flush=True)
