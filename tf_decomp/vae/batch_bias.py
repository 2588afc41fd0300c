# SPDX-License-Identifier: Apache-2.0
"""Says where D of a training batch is badly biased against D of all data."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tf_decomp.divergences import DIVERGENCES

# A batch of a tenth of the data or less is few.
_FEW = 10


def takes_few_for_all(
    divergence: Callable[..., Any] | None, batch_size: int, n: int
) -> bool:
    """Whether D of a batch of B of n data may be far above D of all of them.

    The inclusive KL takes the batch's aggregate for that of all: a prior sample near
    whose encodings the batch has none counts as if all had none. Its mean over batches
    is never below D of all (Jensen), equals it at B = n, and by the delta method is
    above it by Var_i[q_i(y)] / (2 B q(y)^2) (1 - B/n), which is large where few
    encodings overlap at y. B and n alone cannot tell that, so this is a rule of thumb:
    B <= n/10. The MMD is a U-statistic, unbiased at any B; of further divergences
    nothing is known.

    Args:
        divergence: As of DecompositionVAE.
        batch_size: B, of all replicas.
        n: Number of data.
    """
    return divergence is DIVERGENCES["inclusive_kl"] and _FEW * batch_size <= n


class BatchBias(keras.callbacks.Callback):
    """Warns once where D takes a batch of few data for all of them.

    At the end of training it then prints D of batches of this size beside D of all,
    unless `fit` is told verbose=0.
    `DecompositionVAE.fit` has one unless it is given one.

    Args:
        x: The training data, as of `fit`.
        num_examples: Their number where an epoch of `fit` is not one pass over them.

    Example:
        >>> vae.fit(batches, steps_per_epoch=100, callbacks=[BatchBias(x, len(x))])
    """

    def __init__(self, x: Any, num_examples: int | None = None) -> None:
        super().__init__()
        self._x, self._n = x, num_examples
        self._batch_size: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers where the epoch began."""
        self._first_step = self._steps()

    def on_test_begin(self, logs: Any = None) -> None:
        """Looks at the epoch before its validation resets the means."""
        self._look()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks at the epoch, if it had no validation."""
        self._look()

    def on_train_end(self, logs: Any = None) -> None:
        """Prints both values of D where a warning came."""
        readable = not isinstance(self._x, Iterator)  # and not used up
        if self._batch_size and readable and self.params["verbose"]:
            batches, everything = self.model.divergence_by_size(
                self._x, self._batch_size
            )
            print(
                f"divergence: {_text(batches)} over batches of {self._batch_size}, "
                f"{_text(everything)} of all at once",
                flush=True,
            )

    def _look(self) -> None:
        model = self.model
        if self._batch_size or model.divergence is None:
            return
        seen, steps = model.examples_seen(), self._steps() - self._first_step
        self._first_step = self._steps()  # what follows in this epoch is a test
        if not steps or not model.number(model.alpha) > 0:
            return
        n, batch_size = self._n or seen, math.ceil(seen / steps)
        if takes_few_for_all(model.divergence, batch_size, n):
            self._batch_size = batch_size
            warnings.warn(
                f"inclusive_kl takes a batch of {batch_size} for all {n} of an epoch; "
                "where encodings overlap little it is far above D of all (fit prints "
                "both at its end, but for verbose=0); take a larger batch_size or "
                "divergence='dimensionwise_mmd', which is unbiased",
                stacklevel=2,
            )

    def _steps(self) -> int:
        return int(self.model.number(self.model.train_batches))


def _text(estimate: Any) -> str:
    value, error, n = estimate
    return f"{value:.4g} (standard error {error:.2g}, n = {n})"
