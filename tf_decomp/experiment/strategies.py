# SPDX-License-Identifier: Apache-2.0
"""The tf.distribute strategy of a run, and what several workers must agree on."""

import functools
import json
import os
from collections.abc import Sequence

import tensorflow as tf

from tf_decomp.errors import InputError
from tf_decomp.tracing import traced

_TF_CONFIG = (
    '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": '
    '"worker", "index": 0}}\''
)
# Of the first worker of a node; jobs and steps that share one differ.
_PORTS = range(20_000, 30_000, 20)
_STEPS = 31  # of a job, before they meet those of the next


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy of a setting.

    Args:
        name: "none", "mirrored" (all devices of this process) or "multi_worker" (all
            processes that the environment variable TF_CONFIG names, or without it all
            tasks that srun started in one step; it must be made before TensorFlow runs
            anything else).

    Raises:
        InputError: Neither TF_CONFIG nor Slurm names the workers, another process has
            this worker's port, or TensorFlow runs already.

    Example:
        >>> with make_strategy("mirrored").scope():
        ...     vae = build_vae(config, (2,))
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        resolver = _resolve_workers()
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except RuntimeError as error:
            raise InputError(
                "strategy=multi_worker: expected a process in which TensorFlow has run "
                f"nothing yet; received one where it has ({error}); start bin/train.py"
            ) from error
        except tf.errors.UnknownError as error:
            raise InputError(
                "strategy=multi_worker: expected that this worker can listen on its "
                f"port; received: {error.message} (another process may have the port); "
                "end that one, or set TF_CONFIG with free ports"
            ) from error
    return _mirrored()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files: always, or as the first worker."""
    resolver = strategy.cluster_resolver
    return not _has_several_workers(strategy) or resolver.task_id == 0


def broadcast_number(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the chief's number on every worker; all wait for each other here.

    Args:
        strategy: Of the run.
        number: This worker's.
    """
    if not _has_several_workers(strategy):
        return number
    return int(_broadcast(strategy, [tf.constant(number, tf.int64)])[0])


def broadcast_variables(
    strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]
) -> None:
    """Returns every worker the chief's values; all wait for each other here.

    Args:
        strategy: Of the run.
        variables: The same on every worker, in the same order.
    """
    if not _has_several_workers(strategy):
        return
    values = _broadcast(strategy, [tf.convert_to_tensor(v) for v in variables])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    """Returns the only one of this process.

    A second one would count its collective operations from the start again, and
    TensorFlow refuses a number that it has seen with another operation.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices()
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _broadcast(
    strategy: tf.distribute.Strategy, values: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    @traced
    def sum_over_workers(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        replicas = tf.distribute.get_replica_context()
        first = replicas.replica_id_in_sync_group == 0
        # Zeros of the others; no number changes in a sum with zeros.
        own = [tf.where(first, value, tf.zeros_like(value)) for value in values]
        return [replicas.all_reduce(tf.distribute.ReduceOp.SUM, v) for v in own]

    results = strategy.run(sum_over_workers, args=(list(values),))
    return [strategy.experimental_local_results(result)[0] for result in results]


def _resolve_workers() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """Returns the workers that Slurm names; None where TF_CONFIG does."""
    text = os.environ.get("TF_CONFIG", "")
    if not text and "SLURM_JOB_ID" in os.environ:
        return _workers_of_slurm()
    _check_cluster(text)
    return None


def _workers_of_slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the tasks of this step, each with the GPUs that it sees.

    TensorFlow's resolver for Slurm asks nvidia-smi for GPUs and fails without any, so
    it is asked for the tasks alone.
    """
    resolvers, variables = tf.distribute.cluster_resolver, os.environ
    try:
        job, step = int(variables["SLURM_JOB_ID"]), int(variables["SLURM_STEP_ID"])
        slurm = resolvers.SlurmClusterResolver(
            port_base=_PORTS[(_STEPS * job + step) % len(_PORTS)],
            gpus_per_node=int(variables["SLURM_STEP_NUM_TASKS"]),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        cluster = slurm.cluster_spec()
        kind, index = slurm.get_task_info()
        host = cluster.task_address(kind, index).rpartition(":")[0]
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            "strategy=multi_worker: expected the variables SLURM_PROCID and "
            "SLURM_STEP_* of a task that srun started; received others "
            f"({' '.join(str(error).split())}); start each worker by srun, or set "
            "TF_CONFIG"
        ) from error
    node = variables.get("SLURMD_NODENAME", host)
    if node != host:
        raise InputError(
            "strategy=multi_worker: expected tasks that fill one node after the other, "
            f"nodes in the order of their names' letters; received task {index} on "
            f"{node} in the place of {host}; use srun --distribution=block and nodes "
            "with equally long numbers, or set TF_CONFIG"
        )
    gpus = len(tf.config.get_visible_devices("GPU"))
    return resolvers.SimpleClusterResolver(
        cluster, "", kind, index, num_accelerators={"GPU": gpus}, rpc_layer="grpc"
    )


def _check_cluster(text: str) -> None:
    """Checks TF_CONFIG as far as TensorFlow would fail without a clear message."""
    try:
        described = json.loads(text or "null")
        workers = described["cluster"]["worker"]
        task = described["task"]
        usable = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, TypeError, KeyError):
        usable = False
    if not usable:
        received = repr(text) if text else "none"
        raise InputError(
            "strategy=multi_worker: expected the environment variable TF_CONFIG to "
            f"name all workers and this one's place; received {received}; set it as "
            f"TF_CONFIG={_TF_CONFIG}, with another index for each process, or on Slurm "
            "start the workers by srun"
        )
