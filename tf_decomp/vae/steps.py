# SPDX-License-Identifier: Apache-2.0
"""How training steps run: compiled by XLA or not, one or several in a call.

What a step computes is the model's: nothing here knows the objective.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_decomp.devices import Device, computing_device
from tf_decomp.errors import InputError
from tf_decomp.tracing import compiled
from tf_decomp.vae.noise import StepNoise
from tf_decomp.vae.replicas import Share, share_of

# Numbers of the batches that one call holds: 16 MB of float32.
_MAX_NUMBERS = 2**22


class Batch(NamedTuple):
    """What a step takes: examples, and the noise drawn for them.

    Attributes:
        x: [size, *data_shape], this replica's examples.
        share: This replica's part of the global batch.
        noise: Of the posterior's samples, for the global batch.
        prior_noise: Of the prior's samples; samples where the prior does not learn.
            None in evaluation.
        condition: [size, condition_dim], what the examples are conditioned on, or
            None.
    """

    x: tf.Tensor
    share: Share
    noise: tf.Tensor
    prior_noise: tf.Tensor | None = None
    condition: tf.Tensor | None = None


class Steps:
    """Takes the training steps of a model, in the way that is fastest for it.

    A step is gradient and update of `model.batch_loss`, then `model.add_to_means`. On
    one replica both may be one function compiled by XLA, and several steps another.

    Args:
        model: A compiled DecompositionVAE.
        noise: Its noise.
        jit_compile: As of `DecompositionVAE.compile`.
    """

    def __init__(self, model: Any, noise: StepNoise, jit_compile: bool | str) -> None:
        self._model, self._noise, self.jit_compile = model, noise, jit_compile
        self._compiled_update = compiled(self._update)
        self._compiled_updates = compiled(self._updates)

    @property
    def are_compiled(self) -> bool:
        """Whether XLA compiles gradient and update, given one replica."""
        if self._model.run_eagerly or not self._noise.is_separable:
            return False
        if self.jit_compile == "auto":
            ranks = [len(v.shape) for v in self._model.trainable_variables]
            return compiles_by_itself(computing_device(), ranks)
        return bool(self.jit_compile)

    def take(self, batch: Batch) -> None:
        """Takes a step.

        Args:
            batch: Its examples and noise.
        """
        if batch.share.num_replicas > 1:
            # No cond around what gathers from replicas: there D is always computed.
            self._update(batch, self._model.divergence is not None)
            return
        update = self._compiled_update if self.are_compiled else self._update
        self._with_divergence_while_weighted(functools.partial(update, batch))

    def several(
        self, steps: int, otherwise: Callable[[Any], Any]
    ) -> Callable[[Any], Any]:
        """Returns a train function of Keras that takes up to `steps` steps.

        Args:
            steps: How many, as `steps_per_execution`.
            otherwise: The function for iterators that are not of `tf.data`.
        """
        return several_steps(
            steps,
            self._draw,
            self._take_several,
            self._model.get_metrics_result,
            otherwise,
        )

    def _with_divergence_while_weighted(self, update: Callable[[bool], None]) -> None:
        """Calls update(with_divergence): D is computed while alpha > 0."""
        model = self._model
        if model.divergence is None:
            update(False)
        else:
            tf.cond(model.alpha.value > 0, lambda: update(True), lambda: update(False))

    def _update(self, batch: Batch, with_divergence: bool) -> None:
        """Steps along the gradient, and adds the batch's terms to the means."""
        model = self._model
        learners = model.learners(with_divergence)
        with tf.GradientTape() as tape:
            loss, terms = model.batch_loss(batch, with_divergence)
            loss = model.optimizer.scale_loss(loss)
        of_each = tape.gradient(loss, [variables for _, variables in learners])
        for (optimizer, variables), gradients in zip(learners, of_each, strict=True):
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        model.add_to_means(terms)

    def _draw(self, data: Any) -> list[tf.Tensor]:
        x, _, *others = self._model.draw_batch(data)
        return [x, *(tensor for tensor in others if tensor is not None)]

    def _take_several(self, count: tf.Tensor, *arrays: tf.Tensor) -> None:
        updates = functools.partial(self._compiled_updates, count, arrays)
        self._with_divergence_while_weighted(updates)

    def _updates(
        self, count: tf.Tensor, arrays: tuple[tf.Tensor, ...], with_divergence: bool
    ) -> None:
        """Takes a step on each of the first `count` entries of `_draw`'s tensors."""

        def step(i: tf.Tensor) -> tuple[tf.Tensor]:
            x, *others = (array[i] for array in arrays)
            self._update(Batch(x, share_of(x), *others), with_divergence)
            return (i + 1,)

        tf.while_loop(lambda i: i < count, step, [0])


def compiles_by_itself(device: Device, ranks: Sequence[int]) -> bool:
    """Whether XLA is the faster for a model on a device.

    On CPUs XLA's convolutions are slower than oneDNN's.

    Args:
        device: Of which kind.
        ranks: Of the model's variables; convolutions have more than 2.
    """
    return device.kind == "GPU" or max(ranks, default=0) <= 2


def several_steps(
    steps: int,
    draw: Callable[[Any], Sequence[tf.Tensor]],
    take: Callable[..., None],
    result: Callable[[], dict[str, tf.Tensor]],
    otherwise: Callable[[Any], Any],
) -> Callable[[Any], Any]:
    """Returns a train function of Keras that takes up to `steps` steps.

    A call of an XLA function costs more than a step of a small network. So batches of
    one size, with their noise, are stacked and given to one call.

    Args:
        steps: How many, as `steps_per_execution`.
        draw: Maps an element of the data to x [batch, ...] and the noises of its step;
            called once a step, in their order.
        take: Called with a count and one array [size, ...] for each tensor of `draw`:
            takes a step on each of the first `count` entries.
        result: Returns the logs.
        otherwise: The function for iterators that are not of `tf.data`.
    """
    # AutoGraph would hand an error on as one of its own, of many lines.
    refused: list[InputError] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        @tf.autograph.experimental.do_not_convert
        def noted(*args: Any) -> Any:
            try:
                return call(*args)
            except InputError as error:
                refused.append(error)
                raise

        return noted

    draw, take = noting(draw), noting(take)

    def take_one_size(
        iterator: Any, optional: Any, done: tf.Tensor
    ) -> tuple[Any, tf.Tensor]:
        """Takes steps on the next batches while they are as large as the first."""
        tensors = draw(optional.get_value())
        batch = tf.shape(tensors[0])[0]
        size = tf.clip_by_value(_MAX_NUMBERS // tf.size(tensors[0]), 1, steps)
        arrays = [
            tf.TensorArray(t.dtype, size, element_shape=t.shape).write(0, t)
            for t in tensors
        ]
        count, done, optional = 1, done + 1, following(iterator, optional, done + 1)
        while count < size and done < steps and has_size(optional, batch):
            tensors = draw(optional.get_value())
            arrays = [a.write(count, t) for a, t in zip(arrays, tensors, strict=True)]
            count, done = count + 1, done + 1
            optional = following(iterator, optional, done)
        # One shape for every count, so that XLA compiles once: the last one again.
        rows = tf.minimum(tf.range(size), count - 1)
        take(count, *(array.gather(rows) for array in arrays))
        return optional, done

    def following(iterator: Any, optional: Any, done: tf.Tensor) -> Any:
        """Returns the next element, but takes none that this call would not use."""
        return tf.cond(done < steps, iterator.get_next_as_optional, lambda: optional)

    def has_size(optional: Any, batch: tf.Tensor) -> tf.Tensor:
        def compare() -> tf.Tensor:
            x = tf.nest.flatten(optional.get_value())[0]
            return tf.equal(tf.shape(x)[0], batch)

        return tf.cond(optional.has_value(), compare, lambda: False)

    @tf.function(reduce_retracing=True)  # with AutoGraph, for the loops
    def take_steps(iterator: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        done, optional = tf.constant(0), iterator.get_next_as_optional()
        while done < steps and optional.has_value():
            optional, done = take_one_size(iterator, optional, done)
        return done, result()

    def function(iterator: Any) -> Any:
        if not isinstance(iterator, tf.data.Iterator):
            return otherwise(iterator)
        try:
            done, logs = take_steps(iterator)
        except Exception:
            if refused:
                raise refused.pop() from None
            raise
        if done == 0:
            raise StopIteration
        return logs

    return function
