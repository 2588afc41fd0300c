# SPDX-License-Identifier: Apache-2.0
"""Two logical CPUs for every test process, and quiet TensorFlow start-up logs."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tf_decomp  # noqa: F401  (before TensorFlow: it turns oneDNN on)

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
