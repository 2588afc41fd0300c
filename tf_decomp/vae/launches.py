# SPDX-License-Identifier: Apache-2.0
"""Several training steps in one call of a compiled function."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Numbers of the batches that one launch holds: 16 MB of float32.
_MAX_NUMBERS = 2**22


def several_steps(
    steps: int,
    draw: Callable[[Any], Sequence[tf.Tensor]],
    launch: Callable[..., None],
    result: Callable[[], dict[str, tf.Tensor]],
    otherwise: Callable[[Any], Any],
) -> Callable[[Any], Any]:
    """Gives a train function of Keras that takes up to `steps` steps.

    A call of an XLA function costs more than a step of a small network. So batches of
    one size, with their noise, are stacked and given to one call.

    Args:
        steps: How many, as `steps_per_execution`.
        draw: Maps an element of the data to x [batch, ...] and the noises of its step;
            called once a step, in their order.
        launch: Called with a count and one array [size, ...] for each tensor of `draw`:
            takes a step on each of the first `count` entries.
        result: Gives the logs.
        otherwise: The function for iterators that are not of `tf.data`.
    """

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
        launch(count, *(array.gather(rows) for array in arrays))
        return optional, done

    def following(iterator: Any, optional: Any, done: tf.Tensor) -> Any:
        """Gives the next element, but takes none that this call would not use."""
        return tf.cond(done < steps, iterator.get_next_as_optional, lambda: optional)

    def has_size(optional: Any, batch: tf.Tensor) -> tf.Tensor:
        def compare() -> tf.Tensor:
            x = tf.nest.flatten(optional.get_value())[0]
            return tf.equal(tf.shape(x)[0], batch)

        return tf.cond(optional.has_value(), compare, lambda: False)

    @tf.function(reduce_retracing=True)  # with AutoGraph, for the loops
    def take(iterator: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        done, optional = tf.constant(0), iterator.get_next_as_optional()
        while done < steps and optional.has_value():
            optional, done = take_one_size(iterator, optional, done)
        return done, result()

    def function(iterator: Any) -> Any:
        if not isinstance(iterator, tf.data.Iterator):
            return otherwise(iterator)
        done, logs = take(iterator)
        if done == 0:
            raise StopIteration
        return logs

    return function
