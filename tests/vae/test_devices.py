# SPDX-License-Identifier: Apache-2.0
"""What is done otherwise on a GPU: decided by its facts, and with equal results."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_decomp
from tf_decomp import devices, pairwise
from tf_decomp.data import pipeline
from tf_decomp.devices import Device, computing_device
from tf_decomp.vae import steps

CPU, GPU = Device("CPU", 0), Device("GPU", 2**34)


class Listed(NamedTuple):
    """A device as TensorFlow lists it."""

    device_type: str
    memory_limit: int


LISTED = [Listed("CPU", 2**20), Listed("GPU", 2**34), Listed("GPU", 2**33)]


def test_this_machine_has_the_device_that_tensorflow_sees() -> None:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    assert computing_device().kind == kind


def test_gpus_are_told_with_the_smallest_memory(monkeypatch: Any) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * 2)
    monkeypatch.setattr(devices.device_lib, "list_local_devices", lambda: LISTED)
    assert computing_device.__wrapped__() == Device("GPU", 2**33)

    def fail() -> None:
        raise tf.errors.InvalidArgumentError(None, None, "split into logical ones")

    monkeypatch.setattr(devices.device_lib, "list_local_devices", fail)
    assert computing_device.__wrapped__() == Device("GPU", 0)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (CPU, 2**17),
        (Device("CPU", 2**40), 2**17),
        (Device("GPU", 0), 2**17),
        (Device("GPU", 2**26), 2**17),
        (Device("GPU", 2**33), 2**23),  # 8 GiB
        (Device("GPU", 80 * 2**30), 80 * 2**20),
        (Device("GPU", 2**40), 2**28),
    ],
)
def test_pairs_are_held_by_memory(device: Device, expected: int) -> None:
    assert pairwise.numbers_at_once(device) == expected
    assert 64 * expected <= max(device.memory / 16, 64 * 2**17)


@pytest.mark.parametrize(("device", "calls"), [(CPU, 4), (GPU, 1)])
def test_rows_go_in_as_few_chunks_as_fit(
    device: Device, calls: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pairwise, "computing_device", lambda: device)
    seen = []

    def double(rows: tf.Tensor) -> tf.Tensor:
        seen.append(len(rows))
        return 2 * rows

    x = tf.range(1000.0)
    np.testing.assert_array_equal(pairwise.map_rows(double, x, 500), 2 * x)
    assert len(seen) == calls


@pytest.mark.parametrize(
    ("device", "ranks", "expected"),
    [
        (CPU, [2, 1], True),
        (CPU, [4, 1], False),
        (CPU, [], True),
        (GPU, [2, 1], True),
        (GPU, [4, 1], True),
    ],
)
def test_xla_by_device_and_ranks(
    device: Device, ranks: list[int], expected: bool
) -> None:
    assert steps.compiles_by_itself(device, ranks) == expected


def trained_on_images() -> tuple[bool, list[np.ndarray]]:
    """Whether XLA has compiled, and the weights after a step."""
    config = tf_decomp.ExperimentConfig(
        latent_dim=3, batch_norm=True, divergence="dimensionwise_mmd", alpha=5.0
    )
    keras.utils.set_random_seed(0)
    vae = tf_decomp.build_vae(config, (16, 16, 1))
    vae.compile(keras.optimizers.SGD(1e-2))
    x = np.random.default_rng(0).random((8, 16, 16, 1), np.float32)
    vae.fit(x, batch_size=8, shuffle=False, verbose=0)
    return vae._steps.are_compiled, vae.get_weights()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
def test_steps_with_convolutions_are_the_same_in_xla(monkeypatch: Any) -> None:
    monkeypatch.setattr(steps, "computing_device", lambda: CPU)
    plain, expected = trained_on_images()
    monkeypatch.setattr(steps, "computing_device", lambda: GPU)
    compiled, weights = trained_on_images()
    assert (plain, compiled) == (False, True)
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_batches_at_once_leave_a_cpu_to_the_steps() -> None:
    assert [pipeline.batches_at_once(CPU, cores) for cores in (1, 64)] == [1, 1]
    given = [pipeline.batches_at_once(GPU, cores) for cores in (1, 2, 6, 64)]
    assert given == [1, 1, 3, 8]


@pytest.mark.parametrize("size", [7, 30])
def test_batches_that_are_prepared_at_once_keep_their_order(
    size: int, monkeypatch: Any
) -> None:
    split = tf_decomp.Split(
        np.arange(30)[:, None], unpack=lambda x: 0.5 * tf.cast(x, "float32")
    )

    def batches() -> list[list[float]]:
        data = tf_decomp.make_pipeline(split, size, shuffle=True, seed=3, epochs=9)
        return [batch[:, 0].numpy().tolist() for batch in data]

    expected = batches()
    monkeypatch.setattr(pipeline, "batches_at_once", lambda *_: 4)
    assert batches() == expected
    assert len(expected) == 9 * -(-30 // size)
