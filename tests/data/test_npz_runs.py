# SPDX-License-Identifier: Apache-2.0
"""Runs on npz files: their labels reach the plots, and their scale is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_decomp import ExperimentConfig, train
from tf_decomp.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

_RNG = np.random.default_rng(0)
CLASSES = np.arange(60) % 3
VECTORS = _RNG.normal(size=(60, 3)).astype(np.float32)


def config(folder: Path, **settings: Any) -> ExperimentConfig:
    return ExperimentConfig(
        dataset=f"npz:{folder / 'data.npz'}",
        output_dir=str(folder / "run"),
        **{"epochs": 2, "batch_size": 20, "hidden": (4,), **settings},
    )


@pytest.mark.parametrize(
    "labels",
    [
        np.eye(3)[CLASSES],
        pytest.param(CLASSES[:, None], marks=pytest.mark.slow),
        pytest.param(CLASSES - 5.0, marks=pytest.mark.slow),
        pytest.param(CLASSES.astype(str), marks=pytest.mark.slow),
    ],
)
def test_labels_of_every_shape_reach_the_plots(
    tmp_path: Path, labels: np.ndarray
) -> None:
    np.savez(tmp_path / "data.npz", x_train=VECTORS, y_train=labels)
    train(config(tmp_path))
    assert (tmp_path / "run" / "metrics.json").exists()
    assert (tmp_path / "run" / "plots" / "latents.png").exists()


NO_CLASSES = [np.where(CLASSES, CLASSES, np.nan), np.ones((60, 3))]


@pytest.mark.parametrize("labels", NO_CLASSES)
def test_other_labels_stop_a_run_before_it_begins(
    tmp_path: Path, labels: np.ndarray
) -> None:
    np.savez(tmp_path / "data.npz", x_train=VECTORS, y_train=labels)
    with pytest.raises(InputError, match="y_train of"):
        train(config(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.uint8])
def test_integer_images_give_probabilities(
    tmp_path: Path, dtype: type, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = _RNG.integers(0, 256, (60, 16, 16)).astype(dtype)
    pixels[0, 0, :2] = 0, 255
    np.savez(tmp_path / "data.npz", x_train=pixels, x_test=pixels[:20])
    metrics = train(config(tmp_path, likelihood="bernoulli", epochs=1))
    assert metrics["test/log_likelihood"]["value"] < 0
    note = f"x_train of {tmp_path / 'data.npz'}: {np.dtype(dtype)} 0..255, divided"
    assert f"{note} by 255\n" in capsys.readouterr().out
