# SPDX-License-Identifier: Apache-2.0
"""Two logical CPUs and fixed seeds for every test, quiet TensorFlow start-up logs."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker, and what it starts, has a core
    for _name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import tf_decomp  # noqa: F401  (before TensorFlow: it turns oneDNN on)

import keras
import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(scope="module", autouse=True)
def _seeds_of_fixtures() -> None:
    """What a module's fixtures draw is the same in every run of the tests."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seeds(_seeds_of_fixtures: None) -> None:
    """What a test draws does not depend on which tests ran before it."""
    keras.utils.set_random_seed(0)
