# SPDX-License-Identifier: Apache-2.0
"""The training and evaluation steps of the objective (7)."""

import abc
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.objectives import (
    ObjectiveTerms,
    decomposition_objective,
    objective_terms,
)
from tf_decomp.sampling import plain, sample_with
from tf_decomp.tracing import compiled
from tf_decomp.vae.launches import several_steps
from tf_decomp.vae.means import ObjectiveMeans
from tf_decomp.vae.noise import StepNoise
from tf_decomp.vae.replicas import Share, gather_posterior, share_of, stack_over_workers


class ObjectiveTrainer(keras.Model, abc.ABC):
    """Steps and compilation of a model with the objective (7).

    The subclass sets the attributes below in its constructor and then calls
    `prepare`.

    Attributes:
        encoder: Maps x to q(z|x).
        decoder: Maps z to p(x|z).
        prior: The Prior.
        divergence: D(q(z), p(z)) in the calling form of DIVERGENCES, or None.
        num_samples: Posterior samples a datum.
        seed: Base seed of all noise.
        alpha: Weight of D.
        beta: Weight of the KL.
    """

    train_function: Any  # Keras's

    def prepare(self, posterior: tfd.Distribution) -> None:
        """Makes the counters and the means.

        Args:
            posterior: Any q(z|x) of the encoder: it shows the family.
        """
        self.train_batches = self._counter("train_batches")
        self.test_batches = self._counter("test_batches")
        self._means = ObjectiveMeans(has_divergence=self.divergence is not None)
        self._noise = StepNoise(
            posterior,
            self.prior,
            self.num_samples,
            samples_prior=self.divergence is not None,
            seed=self.seed,
        )
        self._xla_step: bool | str = "auto"

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training.

        Args:
            optimizer: As in Keras.
            jit_compile: Whether XLA compiles gradient and update of a step. "auto":
                on one replica and without convolutions, where it is faster. Noise is
                drawn outside, so results agree to rounding.
            **kwargs: Further arguments of `keras.Model.compile`, but losses and
                metrics, which the objective fixes.

        Raises:
            InputError: A loss or metrics are given.
        """
        given = [k for k in ("loss", "metrics", "weighted_metrics") if kwargs.get(k)]
        if given:
            raise InputError(
                f"compile: the objective is the loss; received {', '.join(given)}, "
                "leave it out"
            )
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        # Under a strategy the slots cannot be made while a step is traced.
        self.optimizer.build(self.trainable_variables)
        self._xla_step = jit_compile
        self._compiled_update = compiled(self._update)
        self._compiled_updates = compiled(self._updates)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes one step of gradient ascent on L_{alpha,beta}."""
        x = self._inputs(data)
        share = share_of(x)
        noises = self._draw_noises(share)
        compiles = share.num_replicas == 1 and self._compiles()
        update = self._compiled_update if compiles else self._update
        if share.num_replicas > 1:
            # No cond around what gathers from replicas: there D is always computed.
            update(x, share, *noises, self.divergence is not None)
        else:
            self._where_weighed(functools.partial(update, x, share, *noises))
        return stack_over_workers(self.get_metrics_result())

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that takes `steps_per_execution` steps.

        Where a step is one XLA function, these steps are one too (`launches`).
        """
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        overridden = type(self).train_step is not ObjectiveTrainer.train_step
        if self.steps_per_execution > 1 and self._compiles() and not overridden:
            self.train_function = several_steps(
                self.steps_per_execution,
                self._draw_step,
                self._launch,
                self.get_metrics_result,
                otherwise=self.train_function,
            )

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Adds a batch's terms without D to the means."""
        x = self._inputs(data)
        share = share_of(x)
        noise = self._noise.of_evaluation(self.test_batches.value, share.global_size)
        self.test_batches.assign_add(1)
        posterior = plain(self.encoder(x, training=False))
        latents = sample_with(gather_posterior(posterior), [self.num_samples], noise)
        terms = objective_terms(
            x, posterior, self.prior.distribution, self.decode, share.own(latents)
        )
        self._means.update_state(terms, self.alpha.value, self.beta.value)
        return stack_over_workers(self.get_metrics_result())

    def reset_metrics(self) -> None:
        """Starts new means, and the noise of evaluation from its beginning."""
        super().reset_metrics()
        self.test_batches.assign(0)

    def get_compile_config(self) -> dict[str, Any]:
        """Gives the arguments of `compile`."""
        config = super().get_compile_config()
        return {**config, "jit_compile": self._xla_step} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` described."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: all is built, and Keras would average batches of two sizes."""

    @tf.autograph.experimental.do_not_convert  # called by `launches`
    def _draw_step(self, data: Any) -> tuple[tf.Tensor, ...]:
        x = self._inputs(data)
        return (x, *self._draw_noises(share_of(x)))

    def _draw_noises(self, share: Share) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws a step's noise of posterior and prior, and counts the step."""
        noises = self._noise.of_training(self.train_batches.value, share.global_size)
        self.train_batches.assign_add(1)
        return noises

    def _where_weighed(self, update: Callable[[bool], Any]) -> None:
        """Calls update(with_divergence): D is computed while alpha > 0."""
        if self.divergence is None:
            update(False)
        else:
            tf.cond(self.alpha.value > 0, lambda: update(True), lambda: update(False))

    @tf.autograph.experimental.do_not_convert  # called by `launches`
    def _launch(self, count: tf.Tensor, *arrays: tf.Tensor) -> None:
        self._where_weighed(functools.partial(self._compiled_updates, count, *arrays))

    def _updates(
        self,
        count: tf.Tensor,
        x: tf.Tensor,
        noise: tf.Tensor,
        prior_noise: tf.Tensor,
        with_divergence: bool,
    ) -> None:
        """Takes a step on each of the first `count` entries of the arrays."""

        def step(i: tf.Tensor) -> tuple[tf.Tensor]:
            self._update(
                x[i], share_of(x[i]), noise[i], prior_noise[i], with_divergence
            )
            return (i + 1,)

        tf.while_loop(lambda i: i < count, step, [0])

    def _update(
        self,
        x: tf.Tensor,
        share: Share,
        noise: tf.Tensor,
        prior_noise: tf.Tensor,
        with_divergence: bool,
    ) -> tf.Tensor:
        """Steps along the gradient, adds the terms to the means, gives the loss."""
        alpha, beta = self.alpha.value, self.beta.value
        with tf.GradientTape() as tape:
            terms = self._training_terms(x, share, noise, prior_noise, with_divergence)
            objective = decomposition_objective(
                terms._replace(divergence=None), alpha, beta
            )
            size = tf.cast(share.global_size, objective.dtype)
            loss = -tf.reduce_sum(objective) / size
            # Keras sums gradients over replicas, and these are the same on each.
            shared = list(self.losses)
            if with_divergence:
                shared.append(tf.math.multiply_no_nan(terms.divergence, alpha))
            for part in shared:
                loss += part / share.num_replicas
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(scaled, variables), variables, strict=True)
        )
        self._means.update_state(terms, alpha, beta)
        return loss

    def _training_terms(
        self,
        x: tf.Tensor,
        share: Share,
        noise: tf.Tensor,
        prior_noise: tf.Tensor,
        with_divergence: bool,
    ) -> ObjectiveTerms:
        prior, divergence = self.prior.distribution, None
        posterior = plain(self.encoder(x, training=True))
        everyone = gather_posterior(posterior)
        latents = sample_with(everyone, [self.num_samples], noise)
        if with_divergence:
            prior_samples = prior_noise
            if self.prior.trainable_variables:
                prior_samples = sample_with(prior, [share.global_size], prior_noise)
            divergence = self.divergence(everyone, prior, latents[0], prior_samples)

        def decoder(z: tf.Tensor) -> tfd.Distribution:
            return plain(self.decoder(z, training=True))

        return objective_terms(
            x, posterior, prior, decoder, share.own(latents), divergence
        )

    @staticmethod
    def number(variable: keras.Variable) -> float:
        """Gives a scalar weight's value now, under a strategy too."""
        return float(tf.convert_to_tensor(variable.value))

    def _compiles(self) -> bool:
        """Whether XLA compiles gradient and update, given one replica."""
        if self.run_eagerly or not self._noise.is_separable:
            return False
        if self._xla_step == "auto":
            # On CPUs XLA's convolutions are slower than oneDNN's.
            return all(len(v.shape) <= 2 for v in self.trainable_variables)
        return bool(self._xla_step)

    def _inputs(self, data: Any) -> tf.Tensor:
        return self._cast(keras.utils.unpack_x_y_sample_weight(data)[0])

    def _cast(self, values: Any) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(values), self.variable_dtype)

    def _counter(self, name: str) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )
