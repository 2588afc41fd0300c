# SPDX-License-Identifier: Apache-2.0
"""A weight of the objective that changes as training goes on."""

from typing import Any

import keras

from tf_decomp.checks import check_real_number, check_whole_number, short
from tf_decomp.errors import InputError


class LinearSchedule(keras.callbacks.Callback):
    """Moves a weight linearly from one value to another over the first epochs.

    At the beginning of epoch e (from 0) it is start + (end - start) min(e / epochs, 1).

    Args:
        weight: Such as `vae.beta`, `vae.alpha` or `vae.divergence.capacity`.
        start: At the beginning.
        end: From `epochs` on.
        epochs: How many.
        first_epoch: Epochs of the data that were trained before.
        epochs_a_row: Epochs of the data in an epoch of `fit`.

    Raises:
        InputError: A number is not usable, or is one that the weight refuses.

    Example:
        >>> vae.fit(x, epochs=100, callbacks=[LinearSchedule(vae.beta, 0.0, 1.0, 20)])
    """

    def __init__(
        self,
        weight: keras.Variable,
        start: float,
        end: float,
        epochs: int,
        first_epoch: int = 0,
        epochs_a_row: int = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self._epochs = check_whole_number(f"{name}: epochs", epochs, 1)
        self._first = check_whole_number(f"{name}: first_epoch", first_epoch, 0)
        self._a_row = check_whole_number(f"{name}: epochs_a_row", epochs_a_row, 1)
        self._start = check_real_number(f"{name}: start", start)
        self._end = check_real_number(f"{name}: end", end)
        if not isinstance(weight, keras.Variable) or weight.shape != ():
            raise InputError(
                f"{name}: expected a weight as vae.beta; received {short(weight)}"
            )
        self._weight = weight

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Assigns the weight."""
        done = min((self._first + epoch * self._a_row) / self._epochs, 1.0)
        self._weight.assign(self._start + (self._end - self._start) * done)
