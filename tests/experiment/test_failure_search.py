# SPDX-License-Identifier: Apache-2.0
"""The search for the step of a loss that is not finite, on one and two replicas."""

import ast
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_decomp import ExperimentConfig, build_vae, make_pipeline
from tf_decomp.data import Split
from tf_decomp.experiment.failure import find_failure
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.strategies import make_strategy

STEPS_AN_EPOCH, FIRST_EPOCH = 3, 4


def batches_of(x: np.ndarray) -> tf.data.Dataset:
    """Returns 2 epochs of 3 batches of 9, 9 and 3 examples, behind the fourth epoch."""
    return make_pipeline(
        Split(x), 9, shuffle=True, seed=0, first_epoch=FIRST_EPOCH, epochs=2
    )


def search(strategy: str, x: np.ndarray, folder: Path) -> tuple[str, RunFiles]:
    """Searches from new weights; gives the message."""
    config = ExperimentConfig(hidden=(4,), divergence="dimensionwise_mmd", alpha=1.0)
    keras.utils.set_random_seed(0)
    with make_strategy(strategy).scope():
        vae = build_vae(config, x.shape[1:])
        vae.compile(keras.optimizers.SGD(0.1))
    files = RunFiles(folder)
    found = find_failure(vae, batches_of(x), FIRST_EPOCH, STEPS_AN_EPOCH, files)
    return str(found), files


def data() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(21, 3)).astype("float32")


@pytest.mark.slow
def test_two_replicas_find_what_one_finds(tmp_path: Path) -> None:
    """D stays finite, and shows which parts, noise and weights the step had.

    The third batch leaves the replicas parts of 2 and 1.
    """
    x = data()
    third = list(batches_of(x))[2].numpy()
    # Its square is infinite in float32, its kernel with others is 0.
    x[(x == third[0]).all(1)] = 1e25
    third[0] = 1e25
    values = {}
    for strategy in ("none", "mirrored"):
        message, files = search(strategy, x, tmp_path / strategy)
        report: dict[str, Any] = json.loads(
            (files.failure / "report.json").read_text(encoding="utf-8")
        )
        assert report["terms"] == ["kl"]
        assert report["epoch"] == FIRST_EPOCH + 1
        assert report["step"] == FIRST_EPOCH * STEPS_AN_EPOCH + 3
        assert "at step 15 (epoch 5)" in message
        with np.load(files.failure / "batch.npz") as kept:
            np.testing.assert_array_equal(kept["x"], third)
        text = report["values"].replace("inf", "0").replace("nan", "0")
        values[strategy] = ast.literal_eval(text)["divergence"]
    assert abs(values["none"]) > 0.01
    # A difference of sums near 12, whose rounding is 1e-6.
    assert values["mirrored"] == pytest.approx(values["none"], abs=1e-5)


@pytest.mark.slow
def test_no_step_fails_again(tmp_path: Path) -> None:
    message, files = search("none", data(), tmp_path)
    assert "after epoch 4" in message
    assert "up to epoch 6" in message
    assert "--learning_rate" in message
    assert "\n" not in message
    assert not files.failure.exists()
