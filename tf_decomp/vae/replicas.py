# SPDX-License-Identifier: Apache-2.0
"""The global batch under a tf.distribute strategy, as one replica sees it."""

from typing import NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.errors import InputError
from tf_decomp.sampling import batch_first

# What Keras's optimizers do to the gradient of each replica before they add them up.
_OF_EACH_REPLICA = (
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "gradient_accumulation_steps",
)


class Share(NamedTuple):
    """One replica's part of the global batch.

    What replicas add up is made of `mean` and `once`, since Keras sums gradients; what
    each needs whole, of `whole`.

    Attributes:
        size: [] examples of this replica.
        global_size: [] examples of all replicas.
        offset: [] where this replica's examples start in the global batch.
        num_replicas: How many replicas there are.
    """

    size: tf.Tensor
    global_size: tf.Tensor
    offset: tf.Tensor
    num_replicas: int

    def own(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this replica's part of values [num_samples, global_size, ...]."""
        if self.num_replicas == 1:
            return values
        return values[:, self.offset : self.offset + self.size]

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this replica's part [] of the global mean of values [size]."""
        return tf.reduce_sum(values) * (1 / tf.cast(self.global_size, values.dtype))

    def once(self, value: tf.Tensor) -> tf.Tensor:
        """Returns this replica's part [] of a value [] that is the same on each."""
        return value / self.num_replicas

    def whole(self, part: tf.Tensor) -> tf.Tensor:
        """Returns the sum [] of all replicas' parts; its gradient is of this one's.

        Args:
            part: [], this replica's.
        """
        if self.num_replicas == 1:
            return part
        replicas = tf.distribute.get_replica_context()
        value = tf.stop_gradient(part)
        return part + (replicas.all_reduce(tf.distribute.ReduceOp.SUM, value) - value)

    def part(self, whole: tf.Tensor) -> tf.Tensor:
        """Returns this replica's part [] of a function of what `whole` gave.

        Replicas' values add up to that of the function, their gradients too.

        Args:
            whole: [], the function's value, the same on each.
        """
        if self.num_replicas == 1:
            return whole
        value = tf.stop_gradient(whole)
        return self.once(value) + (whole - value)


def share_of(x: tf.Tensor) -> Share:
    """Returns this replica's share of the global batch.

    Args:
        x: [size, ...], this replica's examples.
    """
    size = tf.shape(x)[0]
    replicas = _context()
    if replicas is None:
        return Share(size, size, tf.zeros_like(size), 1)
    sizes = replicas.all_gather(size[None], axis=0)
    before = tf.range(replicas.num_replicas_in_sync) < replicas.replica_id_in_sync_group
    offset = tf.reduce_sum(tf.where(before, sizes, 0))
    return Share(size, tf.reduce_sum(sizes), offset, replicas.num_replicas_in_sync)


def gather_posterior(posterior: tfd.Distribution) -> tfd.Distribution:
    """Returns the global batch's posterior; gradients flow back to every replica.

    Args:
        posterior: Plain, batch shape [size].
    """
    replicas = _context()
    if replicas is None:
        return posterior
    posterior = batch_first(posterior)
    params = tf.nest.flatten(posterior, expand_composites=True)
    # Gathering forgets shapes, and gradients would not know what is only set.
    gathered = [
        tf.ensure_shape(replicas.all_gather(param, axis=0), [None, *param.shape[1:]])
        for param in params
    ]
    return tf.nest.pack_sequence_as(posterior, gathered, expand_composites=True)


def check_replicas(
    strategy: tf.distribute.Strategy,
    optimizer: keras.optimizers.Optimizer,
    steps: int,
    jit_compile: bool | str,
) -> None:
    """Refuses what several replicas would do otherwise than one.

    Args:
        strategy: Of the model.
        optimizer: Of the model.
        steps: `steps_per_execution`.
        jit_compile: As of `DecompositionVAE.compile`.

    Raises:
        InputError: There are several replicas, and such a setting.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    given = [name for name in _OF_EACH_REPLICA if getattr(inner, name, None)]
    if given:
        raise InputError(
            f"compile: {', '.join(given)} would act on the gradient of each replica "
            "and not on their sum, another run than on one; leave it out, or train on "
            "one replica"
        )
    if getattr(inner, "ema_overwrite_frequency", None):
        raise InputError(
            "compile: ema_overwrite_frequency fails in Keras under several replicas; "
            "leave it out: the averages replace the weights when training ends"
        )
    if jit_compile is True:
        raise InputError(
            "compile: jit_compile=True fails in Keras under several replicas; leave it "
            "at 'auto'"
        )
    if steps > 1:
        raise InputError(
            f"compile: steps_per_execution={steps} under several replicas fails in "
            "Keras; leave it at 1"
        )


def stack_over_workers(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the logs of a step in the form in which Keras reduces them.

    Keras takes the mean over the first axis where several workers train, and over
    replicas otherwise.

    Args:
        logs: Name to value [], the same on every replica.
    """
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return logs
    return {name: value[None] for name, value in logs.items()}


def _context() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    return context if several else None
