# SPDX-License-Identifier: Apache-2.0
"""Memory grows neither with the queries of an overlap nor with importance samples."""

import subprocess
import sys
from pathlib import Path

import pytest

PEAKS = """
import gc
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd
from tf_decomp.metrics import marginal_log_likelihood, overlap_report
from tf_decomp.networks import ConvDecoder, ConvEncoder
from tf_decomp.priors import NormalPrior
from tf_decomp.vae import DecompositionVAE

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

def print_peak(measure, few, many):
    measure(few)  # the memory of TensorFlow and of XLA is not meant
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    measure(many)
    print((status("VmHWM") - before) / 1024)

posterior = tfd.MultivariateNormalDiag(
    tf.random.normal([100_000, 10]), tf.ones([100_000, 10])
)
print_peak(lambda count: overlap_report(posterior, num_queries=count), 2, 300)

net = dict(hidden=(), batch_norm=True)
vae = DecompositionVAE(
    ConvEncoder(50, filters=(32, 64, 128), **net),
    ConvDecoder([32, 32, 1], filters=(128, 64, 32), **net),
    NormalPrior(50),
)
x = np.random.default_rng(0).uniform(size=(50, 32, 32, 1)).astype("float32")
print_peak(lambda count: marginal_log_likelihood(vae, x, count), 1, 100)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's to tell"
)
@pytest.mark.slow
def test_peaks() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", PEAKS], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    of_overlap, of_likelihood = map(float, finished.stdout.split())
    # Of [300, 100_000] numbers 114 MiB, of [300, 100_000, 10] 1144 MiB.
    assert of_overlap < 80
    # All 5,000 decoded at once would hold 160 MiB in one of the larger layers.
    assert of_likelihood < 150
