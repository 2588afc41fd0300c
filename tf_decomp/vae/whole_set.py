# SPDX-License-Identifier: Apache-2.0
"""D(q(z), p(z)) of a whole data set beside that of its batches."""

import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.batches import examples_of, is_array, is_conditional
from tf_decomp.divergences import DIVERGENCES
from tf_decomp.estimates import Estimate, mean_estimate
from tf_decomp.objectives import batch_divergence
from tf_decomp.sampling import join, stateless_seed
from tf_decomp.tracing import traced
from tf_decomp.vae.inputs import is_one_pass, without_repetition
from tf_decomp.vae.noise import EVALUATED_DIVERGENCE

_MAX_EXAMPLES = 10_000
_NUM_DRAWS = 10
_ENCODED_AT_ONCE = 500
_MAX_BATCHES = 100
# A batch of a tenth of the data or less is few.
_FEW = 10


class SetDivergence:
    """D of data sets under a model, with the noise of evaluation.

    Args:
        model: A DecompositionVAE, or what has its `encode`, `prior`, `divergence`,
            `data_shape` and `seed`.

    Example:
        >>> SetDivergence(vae).of_all(x)
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._encode, self._draw = traced(model.encode), traced(self._draw_once)

    def of_all(self, x: Any, c: Any = None) -> Estimate:
        """Returns the mean of D of all data over 10 draws of latents and prior samples.

        The standard error is over the draws, given the data.

        Args:
            x: An array or a data set that can be read again, of which at most 10,000
                examples are used.
            c: Beside an array, the conditions of a conditional model.
        """
        examples = self._examples(x, c)
        n = len(examples[0])
        starts = range(0, n, _ENCODED_AT_ONCE)
        slices = [slice(i, i + _ENCODED_AT_ONCE) for i in starts]
        posterior = join([self._encoded(examples, rows) for rows in slices])
        seeds = [tf.random.fold_in(self._seed, number) for number in range(_NUM_DRAWS)]
        # A compiled draw keeps one core busy; draws are independent. Where nothing is
        # traced, threads would call the encoder of a VampPrior at once, and TFP's
        # layers hold the state of a call.
        threads = 1 if tf.config.functions_run_eagerly() else os.cpu_count()
        with ThreadPoolExecutor(threads) as pool:
            draws = list(pool.map(lambda s: float(self._draw(posterior, s)), seeds))
        return mean_estimate(draws)._replace(n=n)

    def of_batches(self, x: Any, batch_size: int, c: Any = None) -> Estimate:
        """Returns the mean of D over at most 100 batches, without repetition.

        The standard error is over the batches.

        Args:
            x: As of `of_all`.
            batch_size: Of the batches, all data where it is larger.
            c: As of `of_all`.
        """
        examples, seed = self._examples(x, c), self._seed
        n = len(examples[0])
        batch_size = min(batch_size, n)
        rng = np.random.default_rng(np.abs(seed.numpy().astype(np.int64)))
        order = rng.permutation(n)
        count = min(n // batch_size, _MAX_BATCHES)
        batches = order[: count * batch_size].reshape(count, batch_size)
        draws = [
            float(
                self._draw(
                    self._encoded(examples, rows), tf.random.fold_in(seed, number)
                )
            )
            for number, rows in enumerate(batches)
        ]
        return mean_estimate(draws)._replace(n=count * batch_size)

    @property
    def _seed(self) -> tf.Tensor:
        return stateless_seed(self._model.seed, EVALUATED_DIVERGENCE)

    def _encoded(self, examples: tuple[np.ndarray, ...], rows: Any) -> tfd.Distribution:
        return self._encode(*(tf.constant(part[rows]) for part in examples))

    def _examples(self, x: Any, c: Any) -> tuple[np.ndarray, ...]:
        """Returns at most 10,000 examples [n, *data_shape], and their conditions.

        Of an array, the first of a seeded order; of a data set, as they come.
        """
        conditional = is_conditional(self._model)
        if is_array(x):
            rng = np.random.default_rng(self._model.seed)
            order = np.sort(rng.permutation(len(x))[:_MAX_EXAMPLES])
            (whole,) = examples_of(x, c, conditional)
            return tuple(part[order] for part in whole)
        batches, seen = [], 0
        for parts in examples_of(x, None, conditional):
            batches.append(parts)
            seen += len(parts[0])
            if seen >= _MAX_EXAMPLES:
                break
        whole = without_repetition(x, batches)
        return tuple(part[:_MAX_EXAMPLES] for part in whole)

    def _draw_once(self, posterior: tfd.Distribution, seed: tf.Tensor) -> tf.Tensor:
        """Returns D of one draw of latents and as many prior samples."""
        model = self._model
        prior, n = model.prior.distribution, posterior.batch_shape_tensor()[0]
        latents = posterior.sample(seed=tf.random.fold_in(seed, 0))
        prior_samples = prior.sample(n, seed=tf.random.fold_in(seed, 1))
        return batch_divergence(
            model.divergence, posterior, prior, latents, prior_samples
        )


def is_small_batch(
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
        c: Beside an array, the conditions of a conditional model.

    Example:
        >>> vae.fit(batches, steps_per_epoch=100, callbacks=[BatchBias(x, len(x))])
    """

    def __init__(self, x: Any, num_examples: int | None = None, c: Any = None) -> None:
        super().__init__()
        self._x, self._n, self._c = x, num_examples, c
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
        readable = not is_one_pass(self._x)
        if self._batch_size and readable and self.params["verbose"]:
            batches, everything = self.model.divergence_by_size(
                self._x, self._batch_size, self._c
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
        if is_small_batch(model.divergence, batch_size, n):
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
