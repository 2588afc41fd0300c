# SPDX-License-Identifier: Apache-2.0
"""What is done otherwise on a GPU, beside the way of a CPU on the same GPU."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import tensorflow as tf

from benchmarks import ours
from benchmarks.driver import measure_alone
from benchmarks.timing import Settings, run_worker, seconds_a_call
from tf_decomp import pairwise
from tf_decomp.data import pipeline
from tf_decomp.devices import Device
from tf_decomp.experiment.environment import describe_environment
from tf_decomp.files import write_json


class Pair(NamedTuple):
    """One decision: the workload in the way of a GPU and in that of a CPU.

    Attributes:
        what: What is compared.
        unit: Of its values; of "ms" the smaller is the better.
        of_gpu: The workload as a GPU has it.
        of_cpu: The same as a CPU has it.
    """

    what: str
    unit: str
    of_gpu: str
    of_cpu: str


def run(quick: bool, output: Path) -> None:
    """Measures every decision, prints both ways and writes them as JSON.

    Without a GPU it measures nothing and says why.

    Args:
        quick: Whether sizes are tiny, so that the numbers mean nothing.
        output: The JSON file.
    """
    reason = why_skipped()
    if reason:
        print(f"GPU: skipped, {reason}", flush=True)
        write_json(output, {"quick": quick, "skipped": reason})
        return
    rows = []
    for pair in PAIRS:
        values = [
            measure_alone("benchmarks.gpu", name, quick)["value"]
            for name in (pair.of_gpu, pair.of_cpu)
        ]
        ratio = values[0] / values[1]
        ratio = 1 / ratio if pair.unit == "ms" else ratio
        rows.append({**pair._asdict(), "values": values, "ratio": ratio})
        print(
            f"{pair.what}: {values[0]:.5g} {pair.unit}, in the way of a CPU "
            f"{values[1]:.5g}, ratio {ratio:.2f}",
            flush=True,
        )
    facts = describe_environment()
    write_json(output, {"quick": quick, "environment": facts, "pairs": rows})


def why_skipped() -> str:
    """Returns why there is nothing to measure; nothing where there is a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return ""
    if not tf.test.is_built_with_cuda():
        return "this TensorFlow is built without CUDA"
    return (
        "TensorFlow sees no GPU; a driver and `pip install 'tf-decomp[gpu]'` are needed"
    )


def _step(dataset: str, jit_compile: bool, settings: Settings) -> dict[str, float]:
    vae = ours.build(dataset)
    vae.compile(keras.optimizers.Adam(1e-3, amsgrad=True), jit_compile=jit_compile)
    batch = 8 if settings.quick else {"dsprites": 64}.get(dataset, 500)
    call = ours.train_call(vae, ours.random_examples(dataset, batch))
    return {"value": batch / seconds_a_call(call, settings.seconds)}


def _mmd_in_cached_chunks(settings: Settings) -> dict[str, float]:
    cpu = Device("CPU", 0)
    with mock.patch.object(pairwise, "computing_device", return_value=cpu):
        return ours.WORKLOADS["mmd"](settings)


def _pipeline_of_one_thread(settings: Settings) -> dict[str, float]:
    with mock.patch.object(pipeline, "batches_at_once", return_value=1):
        return ours.WORKLOADS["pipeline_dsprites"](settings)


PAIRS = (
    Pair("dSprites step by XLA", "images/s", "dsprites_xla", "dsprites"),
    Pair(
        "Fashion-MNIST step with MMD by XLA",
        "images/s",
        "fashion_mnist_xla",
        "fashion_mnist",
    ),
    Pair("MMD in chunks by memory", "ms", "mmd", "mmd_cached"),
    Pair("pipeline of dSprites, parallel", "images/s", "pipeline", "pipeline_serial"),
)
WORKLOADS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "dsprites_xla": functools.partial(_step, "dsprites", True),
    "dsprites": functools.partial(_step, "dsprites", False),
    "fashion_mnist_xla": functools.partial(_step, "fashion_mnist", True),
    "fashion_mnist": functools.partial(_step, "fashion_mnist", False),
    "mmd": ours.WORKLOADS["mmd"],
    "mmd_cached": _mmd_in_cached_chunks,
    "pipeline": ours.WORKLOADS["pipeline_dsprites"],
    "pipeline_serial": _pipeline_of_one_thread,
}

if __name__ == "__main__":
    run_worker(WORKLOADS)
