# SPDX-License-Identifier: Apache-2.0
"""For every test: two logical CPUs, fixed seeds, signals, a quiet start."""

import gc
import os
import signal

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker, and what it starts, has a core
    for _name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Starts TensorFlow, but where workers run the tests."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import tf_decomp  # noqa: F401  (before TensorFlow: it turns oneDNN on)

    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    # Looking through the objects of all graphs took 8% of the time.
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="module", autouse=True)
def _seeds_of_fixtures() -> None:
    """What a module's fixtures draw is the same in every run of the tests."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _seeds(_seeds_of_fixtures: None) -> None:
    """What a test draws does not depend on which tests ran before it."""
    import keras

    keras.utils.set_random_seed(0)
