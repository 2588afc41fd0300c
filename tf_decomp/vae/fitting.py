# SPDX-License-Identifier: Apache-2.0
"""Fitting and evaluating with the objective (7): what goes over a whole data set."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.estimates import Estimate
from tf_decomp.tracing import traced
from tf_decomp.vae.batch_bias import BatchBias
from tf_decomp.vae.set_divergence import (
    divergence_of_batches,
    divergence_of_set,
    first_examples,
)
from tf_decomp.vae.training import ObjectiveTrainer


class ObjectiveFitter(ObjectiveTrainer):
    """`fit` and `evaluate` of a model with the objective (7).

    The subclass gives `encode`, as DecompositionVAE does.
    """

    def prepare(self, posterior: tfd.Distribution) -> None:
        """Makes what steps and evaluation need.

        Args:
            posterior: Any q(z|x) of the encoder: it shows the family.
        """
        super().prepare(posterior)
        self._compiled_encode = traced(self.encode)
        self._compiled_draw = traced(self._draw_divergence)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as Keras does, and warns once where D of a batch is badly biased.

        See `BatchBias`, which also prints D of batches beside D of all at the end.

        Args:
            x: Arrays or a data set.
            y: As of `keras.Model.fit`; unused.
            batch_size: As of `keras.Model.fit`.
            epochs: As of `keras.Model.fit`.
            verbose: As of `keras.Model.fit`.
            callbacks: As of `keras.Model.fit`.
            **kwargs: As of `keras.Model.fit`.
        """
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = list(tf.nest.flatten(callbacks or []))
            known = any(isinstance(callback, BatchBias) for callback in callbacks)
            # Several passes make an epoch, or one of no known length.
            if not known and kwargs.get("steps_per_epoch") is None:
                callbacks.append(BatchBias(x))
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(
        self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any
    ) -> Any:
        """Evaluates as Keras does, then D once on the whole set.

        Args:
            x: Arrays or a data set that can be read twice.
            *args: As of `keras.Model.evaluate`.
            return_dict: Whether to give a dictionary instead of a list.
            **kwargs: As of `keras.Model.evaluate`.
        """
        estimates = self.evaluate_with_errors(x, *args, **kwargs)
        logs = {name: estimate.value for name, estimate in estimates.items()}
        return logs if return_dict else list(logs.values())

    def evaluate_with_errors(
        self, x: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, Estimate]:
        """Gives the terms' means over the data with standard errors, by name.

        Errors of the per-example terms are over examples; that of D is over its 10
        draws, given these examples and this model.

        Args:
            x: Arrays or a data set that can be read twice.
            *args: As of `keras.Model.evaluate`.
            **kwargs: As of `keras.Model.evaluate`.
        """
        super().evaluate(x, *args, return_dict=True, **kwargs)
        estimates = self._means.estimates()
        if self.divergence is None:
            return estimates
        divergence = divergence_of_set(
            self._compiled_draw,
            self._compiled_encode,
            first_examples(x, self.data_shape, seed=self.seed),
            seed=self._noise.divergence_seed,
        )
        alpha, loss = self.number(self.alpha), estimates["loss"]
        error = np.hypot(loss.standard_error, alpha * divergence.standard_error)
        total = loss.value + alpha * divergence.value if alpha else loss.value
        estimates["loss"] = Estimate(total, float(error), loss.n)
        return {**estimates, "divergence": divergence}

    def divergence_by_size(self, x: Any, batch_size: int) -> tuple[Estimate, Estimate]:
        """Gives D of batches (a mean), and of all examples at once (10 draws).

        Args:
            x: Arrays or a data set that can be read twice, of which at most 10,000
                examples are used.
            batch_size: Of the batches.
        """
        examples = first_examples(x, self.data_shape, seed=self.seed)
        common = (self._compiled_draw, self._compiled_encode, examples)
        seed = self._noise.divergence_seed
        batches = divergence_of_batches(*common, min(batch_size, len(examples)), seed)
        return batches, divergence_of_set(*common, seed)

    def examples_seen(self) -> int:
        """Gives the number of examples behind the present means."""
        return int(self._means.count.numpy())

    def _draw_divergence(
        self, posterior: tfd.Distribution, seed: tf.Tensor
    ) -> tf.Tensor:
        """D of one draw of latents and as many prior samples."""
        prior, n = self.prior.distribution, posterior.batch_shape_tensor()[0]
        latents = posterior.sample(seed=tf.random.fold_in(seed, 0))
        prior_samples = prior.sample(n, seed=tf.random.fold_in(seed, 1))
        return self.divergence(posterior, prior, latents, prior_samples)
